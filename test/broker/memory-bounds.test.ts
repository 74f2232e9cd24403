import { expect } from 'chai'
import { MemoryBroker } from '../../lib/broker/memory.js'
import type { HistoryOptions } from '../../lib/broker/options.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { range } from '../helpers/range.js'
import { Recorder } from '../suites/broker.js'

const event = (bytes: number) => encodePublished({ data: 'x'.repeat(bytes) })

describe('the memory broker with many channels', () => {
  let broker: MemoryBroker
  afterEach(() => broker.close())

  function start(options: HistoryOptions): MemoryBroker {
    broker = new MemoryBroker(options, new FakeClock())
    return broker
  }

  async function epochOf(channel: string): Promise<string | undefined> {
    return (await broker.heads([channel]))[0]?.epoch
  }

  it('evicts the least recently used logs above maxLogs, and continues them under a new epoch', async () => {
    start({ maxLogs: 100 })
    const first = await broker.publish('first', event(10))
    const used = await broker.publish('used', event(10))
    for (const n of range(1, 95)) await broker.publish(`log:${n}`, event(10))
    await broker.publish('used', event(10))
    for (const n of range(96, 110)) await broker.publish(`log:${n}`, event(10))
    expect(await epochOf('used')).to.equal(used.epoch)
    expect(await epochOf('first')).to.not.equal(first.epoch)
  })

  it('keeps a log that is used within metaTtlMs, with its epoch', async () => {
    const clock = new FakeClock()
    broker = new MemoryBroker({ historyTtlMs: 1000, metaTtlMs: 300_000 }, clock)
    const epoch = await epochOf('used')
    for (const _ of range(1, 5)) {
      clock.advance(200_000)
      expect(await epochOf('used')).to.equal(epoch)
    }
    clock.advance(300_000)
    expect(await epochOf('used')).to.not.equal(epoch)
  })

  it('never evicts a log with a subscriber, even if it is the least recently used', async () => {
    start({ maxLogs: 10 })
    const listener = new Recorder()
    const { epoch } = await broker.subscribe('followed', listener)
    for (const n of range(1, 1000)) await broker.publish(`log:${n}`, event(10))
    expect(await broker.publish('followed', event(10))).to.deep.equal({ epoch, offset: 1 })
    await listener.until(1)
  })

  it('evicts the least recently used logs above maxLogBytes', async () => {
    start({ maxLogBytes: 100_000 })
    const epochs = new Map<number, string>()
    for (const n of range(1, 1000)) epochs.set(n, (await broker.publish(`log:${n}`, event(1000))).epoch)
    const kept: number[] = []
    for (const n of range(1, 1000).reverse()) {
      const { entries } = await broker.read(`log:${n}`, 0, 10)
      if (entries.length > 0) kept.push(n)
    }
    // 1,008 bytes each, and 200 for the entry.
    expect(kept).to.have.length.within(50, 82)
    expect(kept).to.deep.equal(range(1001 - kept.length, 1000).reverse())
  })

  it('keeps the events of logs with subscribers while logs without subscribers have events', async () => {
    start({ maxLogBytes: 100_000 })
    const { epoch } = await broker.subscribe('followed', new Recorder())
    for (const _ of range(1, 5)) await broker.publish('followed', event(1000))
    for (const n of range(1, 1000)) await broker.publish(`log:${n}`, event(1000))
    const { head, entries } = await broker.read('followed', 0, 10)
    expect([head, entries.length]).to.deep.equal([{ epoch, offset: 5 }, 5])
  })

  it('keeps an event larger than maxLogBytes until the next event', async () => {
    start({ maxLogBytes: 50_000 })
    const { epoch } = await broker.publish('large', event(200_000))
    const { head, entries } = await broker.read('large', 0, 10)
    expect([head, entries.length]).to.deep.equal([{ epoch, offset: 1 }, 1])
    await broker.publish('large', event(10))
    expect((await broker.read('large', 0, 10)).entries.map(({ offset }) => offset)).to.deep.equal([2])
  })

  it('trims logs with subscribers if only these remain, and always keeps one event', async () => {
    start({ maxLogBytes: 50_000 })
    const { epoch } = await broker.subscribe('followed', new Recorder())
    for (const _ of range(1, 500)) await broker.publish('followed', event(1000))
    const page = await broker.read('followed', 0, 1000)
    expect(page.head).to.deep.equal({ epoch, offset: 500 })
    expect(page.entries.length).to.be.within(20, 50)
    expect(page.entries.at(-1)?.offset).to.equal(500)
    await broker.publish('followed', event(200_000))
    const { entries } = await broker.read('followed', 0, 1000)
    expect(entries.map(({ offset }) => offset)).to.deep.equal([501])
  })

  it('subtracts expired history from the bytes in use', async () => {
    const clock = new FakeClock()
    broker = new MemoryBroker({ maxLogBytes: 20_000, historyTtlMs: 1000 }, clock)
    for (const n of range(1, 15)) await broker.publish(`old:${n}`, event(1000))
    clock.advance(20_000)
    const epochs: (string | undefined)[] = []
    for (const n of range(1, 15)) epochs.push((await broker.publish(`new:${n}`, event(1000))).epoch)
    for (const n of range(1, 15)) expect(await epochOf(`new:${n}`)).to.equal(epochs[n - 1])
  })

  it('rejects invalid bounds', () => {
    for (const options of [{ maxLogs: 0 }, { maxLogs: 1.5 }, { maxLogBytes: -1 }, { maxLogBytes: Number.NaN }]) {
      expect(() => new MemoryBroker(options, new FakeClock()))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
    start({})
  })
})
