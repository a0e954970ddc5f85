#include "io/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <fstream>

#include "io/system_error.h"
#include "wire/virtio_net.h"

namespace vpc_conn::io {

Tap::Tap(const std::string& pattern) {
  fd_ = UniqueFd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd_.valid()) throw SystemError(errno, "open(/dev/net/tun)");
  ifreq request{};
  pattern.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd_.get(), TUNSETIFF, &request) != 0) throw SystemError(errno, "ioctl(TUNSETIFF)");
  name_ = request.ifr_name;
  const int header = sizeof(wire::VirtioNetHeader);
  if (ioctl(fd_.get(), TUNSETVNETHDRSZ, &header) != 0)
    throw SystemError(errno, "ioctl(TUNSETVNETHDRSZ)", name_);
  // No IPv6 chatter from a device that only we use; where IPv6 is absent there is nothing to switch off.
  std::ofstream("/proc/sys/net/ipv6/conf/" + name_ + "/disable_ipv6") << "1\n";

  const UniqueFd control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control.valid()) throw SystemError(errno, "socket", name_);
  ifreq flags{};
  name_.copy(flags.ifr_name, IFNAMSIZ - 1);
  if (ioctl(control.get(), SIOCGIFFLAGS, &flags) != 0) throw SystemError(errno, "ioctl(SIOCGIFFLAGS)", name_);
  flags.ifr_flags |= IFF_UP | IFF_NOARP;
  if (ioctl(control.get(), SIOCSIFFLAGS, &flags) != 0) throw SystemError(errno, "ioctl(SIOCSIFFLAGS)", name_);
  if (ioctl(control.get(), SIOCGIFINDEX, &flags) != 0) throw SystemError(errno, "ioctl(SIOCGIFINDEX)", name_);
  ifindex_ = flags.ifr_ifindex;
}

}  // namespace vpc_conn::io
