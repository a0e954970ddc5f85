// Asks a running gateway over its control socket: node examples/status.mjs [SOCKET]
// Without SOCKET it takes the only gateway of this machine. Only who may open the socket may do this.
import { connect, VpcConnError } from 'vpc-conn';

const [socket] = process.argv.slice(2);
try {
  const client = await connect(socket === undefined ? {} : { socket });
  try {
    const { name, peers } = await client.status();
    for (const { name: peer, state, roundTripMs, innerMtu } of peers) {
      console.log(`${name} -> ${peer}: ${state}, round trip ${roundTripMs ?? '-'} ms, MTU ${innerMtu}`);
    }
    const { drops } = await client.stats();
    for (const { reason, count, remedy } of drops) console.log(`dropped ${count}: ${reason}. ${remedy}`);
  } finally {
    client.close();
  }
} catch (error) {
  // The message is a sentence for people, the code is stable.
  if (!(error instanceof VpcConnError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = error.exitCode;
}
