// Runs a gateway inside this program: node examples/embed.mjs FILE, as root.
// SIGHUP reads the file again; SIGTERM and Ctrl-C end it. No control socket is made.
import { createGateway, loadSettings, VpcConnError } from 'vpc-conn';

const [file] = process.argv.slice(2);

function complain(error) {
  if (!(error instanceof VpcConnError)) throw error;
  console.error(`${error.code}: ${error.message}`);
}

try {
  const gateway = createGateway(loadSettings(file));
  // It has stopped by itself, for instance because an interface is gone.
  gateway.on('failed', (error) => {
    complain(error);
    process.exitCode = error.exitCode;
  });
  await gateway.start();
  console.log(`running: ${gateway.status().peers.length} peers`);

  process.on('SIGHUP', () => {
    // A file that is wrong changes nothing, whether it cannot be read or cannot be put in force.
    Promise.resolve()
      .then(() => gateway.reload(loadSettings(file)))
      .then(({ changes }) => console.log(`reloaded: ${changes.join('; ') || 'nothing has changed'}`))
      .catch(complain);
  });
  const stop = () => gateway.stop().then(() => process.exit());
  process.once('SIGTERM', stop).once('SIGINT', stop);
} catch (error) {
  complain(error);
  process.exitCode = error.exitCode;
}
