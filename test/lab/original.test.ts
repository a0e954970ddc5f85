// vpc-conn at one end of the tunnel, the original tool's behaviour (test/helpers/original) at the other.
import t, { type Test } from 'tap';
import { createLab, type Lab, type LabSpec, ping, whyNoLab } from '../../src/lab/index.js';
import { Original } from '../helpers/original/wire.js';

const skip = await whyNoLab();

/** The commands of the original's README: who sends names the far host, who receives does not. */
const SENDER = ['-o', 'eth1', '-t', 'eth2', '-d', '198.18.0.2', '-s', '198.18.0.1', '-r', '10.0.0.20'];
const RECEIVER = ['-o', 'eth1', '-t', 'eth2', '-d', '198.18.0.1', '-s', '198.18.0.2'];

const twins: LabSpec = {
  vpcs: [
    {
      name: 'a',
      cidr: '10.0.0.0/24',
      hosts: [{ name: 'a1', address: '10.0.0.10' }],
      gateway: { address: '10.0.0.5', secondary: ['10.0.0.20'], underlayAddress: '198.18.0.1' },
    },
    {
      name: 'b',
      cidr: '10.0.0.0/24',
      hosts: [{ name: 'b1', address: '10.0.0.20' }],
      // The original asks for MACs in the name of its tunnel address; a VPC that checked the sender of ARP
      // requests would have to know it.
      gateway: { address: '10.0.0.6', secondary: ['198.18.0.1'], underlayAddress: '198.18.0.2' },
    },
  ],
};

async function twinLab(t: Test): Promise<Lab> {
  const lab = await createLab(twins);
  t.teardown(() => lab.close());
  return lab;
}

t.test('the original at both ends: one host, ping, nothing more', { skip }, async (t) => {
  const lab = await twinLab(t);
  const sender = await Original.start(lab, 'gw-a', SENDER);
  const receiver = await Original.start(lab, 'gw-b', RECEIVER);
  const result = await ping(lab, 'a1', '10.0.0.20', { count: 10 });
  t.equal(result.received, 10);
  t.equal(sender.asked.filter((address) => address === '10.0.0.20').length, 10, 'it asks before every frame');
  t.ok(sender.process.running && receiver.process.running);
});
