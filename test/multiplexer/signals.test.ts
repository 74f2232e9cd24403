import { expect } from 'chai'
import { MemoryBroker } from '../../lib/broker/memory.js'
import { diagnosticsChannels } from '../../lib/index.js'
import { Signals } from '../../lib/multiplexer/signals.js'
import { FakeClock } from '../helpers/fake-clock.js'

describe('signals between processes', () => {
  it('are reported, not handled, if this version does not know them', async () => {
    const reported: unknown[] = []
    const onError = (message: unknown): void => void reported.push(message)
    const handled: unknown[] = []
    const handle = (what: unknown): unknown => handled.push(what)
    const broker = new MemoryBroker({}, new FakeClock())
    const signals = new Signals(broker, { onAck: handle, onEvict: handle, onRevoke: handle })
    diagnosticsChannels.brokerError.subscribe(onError)
    try {
      signals.listen()
      await broker.signal(undefined, '{"later":1}')
      await broker.signal(undefined, 'not JSON')
      await broker.signal(undefined, '{"evict":7,"revoked":null}')
      signals.broadcastEvict('stream')
      expect(handled).to.deep.equal(['stream'])
      expect(reported).to.have.length(3)
      for (const message of reported) expect(message).to.have.property('operation', 'signal')
    } finally {
      diagnosticsChannels.brokerError.unsubscribe(onError)
      await broker.close()
    }
  })
})
