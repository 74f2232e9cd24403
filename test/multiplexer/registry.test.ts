import { expect } from 'chai'
import type { ChannelListener } from '../../lib/broker/broker.js'
import { MemoryBroker } from '../../lib/broker/memory.js'
import { BrokerError } from '../../lib/core/errors.js'
import type { Position } from '../../lib/core/position.js'
import { ChannelRegistry } from '../../lib/multiplexer/channel/registry.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { codeOf } from '../suites/broker.js'

class FailingBroker extends MemoryBroker {
  fails = false

  override subscribe(channel: string, listener: ChannelListener): Promise<Position> {
    if (this.fails) return Promise.reject(new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'away'))
    return super.subscribe(channel, listener)
  }
}

describe('the registry of channels', () => {
  let clock: FakeClock
  let broker: FailingBroker
  let registry: ChannelRegistry

  beforeEach(() => {
    clock = new FakeClock()
    broker = new FailingBroker({}, clock)
    registry = new ChannelRegistry(broker, clock, { tailBytes: 1000, tailEntries: 10, lingerMs: 1000 })
  })

  it('keeps a channel that is requested again while it lingers, for as long as it is needed', async () => {
    const first = await registry.acquire(['a'])
    registry.release(first)
    clock.advance(999)
    const again = await registry.acquire(['a'])
    expect(again[0]).to.equal(first[0])
    clock.advance(10_000)
    expect(registry.size).to.equal(1)
    expect(again[0]?.closed).to.equal(false)
    registry.release(again)
    clock.advance(1000)
    expect(registry.size).to.equal(0)
    expect(again[0]?.closed).to.equal(true)
  })

  it('opens a channel again that failed to open', async () => {
    broker.fails = true
    expect(await codeOf(registry.acquire(['a', 'b']))).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
    broker.fails = false
    expect(await registry.acquire(['a', 'b'])).to.have.length(2)
  })

  it('rejects requests that wait for a channel once it is closed', async () => {
    broker.subscribe = () => new Promise(() => undefined)
    const waiting = codeOf(registry.acquire(['a']))
    registry.close()
    expect(await waiting).to.equal('ERR_SSE_CLOSED')
  })

  it('rejects a cursor that an open channel has yet to reach once it is closed: the cursor is not ahead', async () => {
    const [head] = await broker.heads(['a'])
    await registry.acquire(['a'])
    let answer: (heads: readonly Position[]) => void = () => undefined
    broker.heads = () =>
      new Promise((resolve) => {
        answer = resolve
      })
    const waiting = codeOf(registry.acquire(['a'], [{ epoch: head?.epoch ?? '', offset: 3 }]))
    registry.close()
    answer([{ epoch: head?.epoch ?? '', offset: 3 }])
    expect(await waiting).to.equal('ERR_SSE_CLOSED')
  })

  it('cancels its timers once it is closed', async () => {
    const channels = await registry.acquire(['a'])
    const { pending } = clock
    registry.release(channels)
    expect(clock.pending).to.equal(pending + 1)
    registry.close()
    expect(clock.pending).to.equal(pending)
    expect(registry.size).to.equal(0)
  })
})
