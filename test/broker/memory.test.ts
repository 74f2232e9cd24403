import { MemoryBroker } from '../../lib/broker/memory.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { brokerSuite } from '../suites/broker.js'

brokerSuite('memory', async () => {
  const clock = new FakeClock()
  return {
    create: (options) => new MemoryBroker(options, clock),
    pass: async (ms) => clock.advance(ms),
    expire: async () => clock.advance(250),
  }
})
