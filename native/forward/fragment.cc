#include "forward/fragment.h"

#include <array>
#include <cstring>

namespace vpc_conn::forward {

namespace {

struct Header {
  std::array<uint8_t, wire::kIpv4HeaderMax> bytes{};
  uint32_t length = wire::kIpv4Header;
};

// The header of all fragments but the first: only options with the copy bit (RFC 791 section 3.1), padded
// with end-of-options. An option whose length is wrong ends the list.
Header LaterHeader(const uint8_t* ip, uint32_t header_length) {
  Header later;
  std::memcpy(later.bytes.data(), ip, wire::kIpv4Header);
  for (uint32_t at = wire::kIpv4Header; at < header_length && ip[at] != wire::kIpv4OptionEnd;) {
    if (ip[at] == wire::kIpv4OptionNop) {
      at++;
      continue;
    }
    if (at + 1 >= header_length) break;
    const uint32_t length = ip[at + 1];
    if (length < 2 || at + length > header_length) break;
    if ((ip[at] & wire::kIpv4OptionCopied) != 0) {
      std::memcpy(later.bytes.data() + later.length, ip + at, length);
      later.length += length;
    }
    at += length;
  }
  later.length = (later.length + 3) & ~3u;
  later.bytes[0] = static_cast<uint8_t>(0x40 | (later.length / 4));
  return later;
}

}  // namespace

Sent SendFragments(const Fragmentable& packet, uint32_t mtu, const Encapsulation& encapsulation,
                   OutBatch& batch) {
  const Header later = LaterHeader(packet.ip, packet.header_length);
  const uint32_t outer_bytes = encapsulation.outer == nullptr ? 0 : encapsulation.outer->length;
  const uint32_t body = packet.head_length + packet.payload_length;
  const uint32_t first_offset = packet.fragment & wire::kFragmentOffset;
  const auto flags = static_cast<uint16_t>(packet.fragment & ~wire::kFragmentOffset);
  Sent sent;
  for (uint32_t at = 0; at < body;) {
    const bool first = at == 0;
    const uint8_t* header = first ? packet.ip : later.bytes.data();
    const uint32_t header_length = first ? packet.header_length : later.length;
    uint32_t length = body - at;
    const bool last = length <= mtu - header_length;
    if (!last) length = (mtu - header_length) & ~7u;

    uint8_t* head = batch.Head();
    uint8_t* ethernet = head + outer_bytes;
    std::memcpy(ethernet, encapsulation.inner_ethernet, wire::kEthernetHeader);
    uint8_t* ip = ethernet + wire::kEthernetHeader;
    std::memcpy(ip, header, header_length);
    wire::StoreBe16(ip + wire::kIpv4TotalLengthOffset, static_cast<uint16_t>(header_length + length));
    const auto offset = static_cast<uint16_t>(first_offset + at / 8);
    wire::StoreBe16(ip + wire::kIpv4FragmentOffset,
                    static_cast<uint16_t>(flags | (last ? 0 : wire::kMoreFragments) | offset));
    wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset, 0);
    const uint16_t sum = wire::Fold(wire::AddBytes(0, ip, header_length));
    wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset, static_cast<uint16_t>(~sum));

    uint32_t head_length = outer_bytes + wire::kEthernetHeader + header_length;
    uint32_t from_head = 0;
    if (first && packet.head_length != 0) {
      std::memcpy(head + head_length, packet.head, packet.head_length);
      head_length += packet.head_length;
      from_head = packet.head_length;
    }
    const uint32_t inner_length = wire::kEthernetHeader + header_length + length;
    if (encapsulation.outer != nullptr) {
      WriteOuterHeader(head, *encapsulation.outer, inner_length, ip[wire::kIpv4TosOffset],
                       encapsulation.flow_label);
    }
    const uint32_t from = first ? 0 : at - packet.head_length;
    batch.AddSegment(head_length, packet.payload + from, length - from_head);
    sent.packets++;
    sent.bytes += inner_length;
    at += length;
  }
  return sent;
}

}  // namespace vpc_conn::forward
