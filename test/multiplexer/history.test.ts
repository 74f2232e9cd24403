import { expect } from 'chai'
import type { HistoryPage } from '../../lib/broker/broker.js'
import { MemoryBroker } from '../../lib/broker/memory.js'
import { History } from '../../lib/multiplexer/channel/history.js'
import type { Page } from '../../lib/multiplexer/channel/page.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { FakeClock } from '../helpers/fake-clock.js'

class CountingBroker extends MemoryBroker {
  reads = 0

  override read(channel: string, after: number, limit: number): Promise<HistoryPage> {
    this.reads++
    return super.read(channel, after, limit)
  }
}

describe("a channel's history", () => {
  let clock: FakeClock
  let broker: CountingBroker
  let history: History
  let epoch: string

  beforeEach(async () => {
    clock = new FakeClock()
    broker = new CountingBroker({}, clock)
    history = new History(broker, 'log', clock)
    const [head] = await broker.heads(['log'])
    epoch = head?.epoch ?? ''
  })
  afterEach(() => history.close())

  async function publish(count: number, bytes = 10): Promise<void> {
    const event = encodePublished({ data: 'x'.repeat(bytes) }, 10_000_000)
    for (let left = count; left > 0; left -= 100) {
      await broker.publishMany('log', Array(Math.min(left, 100)).fill(event))
    }
  }

  /** Reads like a reader. */
  async function pageOf(after: number): Promise<Page | undefined> {
    return history.kept(after, epoch) ?? history.read(after)
  }

  async function lastOf(after: number): Promise<number | undefined> {
    return (await pageOf(after))?.end
  }

  it('reads a page once for all readers that need it at the same time and in the next seconds', async () => {
    await publish(600)
    expect(await Promise.all([lastOf(0), lastOf(7), lastOf(255)])).to.deep.equal([256, 256, 256])
    clock.advance(4000)
    expect([await lastOf(3), await lastOf(256)]).to.deep.equal([256, 512])
    expect(broker.reads).to.equal(2)
    clock.advance(1500)
    expect([await lastOf(3), await lastOf(256)]).to.deep.equal([256, 512])
    expect(broker.reads).to.equal(3)
  })

  it('reads again if the kept page ends too early', async () => {
    await publish(100)
    expect(await lastOf(50)).to.equal(100)
    await publish(1)
    expect(await lastOf(99)).to.equal(100)
    expect(broker.reads).to.equal(1)
    expect(await lastOf(100)).to.equal(101)
    expect(await lastOf(50)).to.equal(101)
    expect(broker.reads).to.equal(2)
  })

  it('drops its kept pages and its running reads', async () => {
    await publish(10)
    await pageOf(0)
    history.forget()
    const underWay = pageOf(0)
    history.forget()
    await underWay
    await pageOf(0)
    expect(broker.reads).to.equal(3)
  })

  it('reads at most one megabyte at a time, and fewer events if events are large', async () => {
    await publish(20, 400_000)
    for (let after = 0; after < 20; ) {
      const page = await pageOf(after)
      expect(page?.bytes).to.be.within(400_000, 1_048_576)
      expect(page?.at(after + 1)?.offset).to.equal(after + 1)
      after = page?.end ?? 20
    }
    // One or two events per page, and a few reads to adapt the span.
    expect(broker.reads).to.be.within(10, 25)
    const before = broker.reads
    for (let after = 0; after < 20; after++) expect((await pageOf(after))?.at(after + 1)?.offset).to.equal(after + 1)
    expect(broker.reads, 'kept').to.equal(before)
  })

  it('reads an event larger than a page, alone', async () => {
    await publish(3, 3_000_000)
    for (let after = 0; after < 3; after++) expect((await pageOf(after))?.end).to.equal(after + 1)
  })

  it('reads long spans again once events are small again', async () => {
    await publish(10, 400_000)
    for (let after = 0; after < 10; ) after = (await pageOf(after))?.end ?? 10
    await publish(3000)
    const before = broker.reads
    for (let after = 10; after < 3010; ) after = (await pageOf(after))?.end ?? 3010
    expect(broker.reads - before).to.be.below(30)
    // Readers at nearby positions share a read again.
    clock.advance(10_000)
    const grown = broker.reads
    for (const after of [1300, 1400, 1500]) await pageOf(after)
    expect(broker.reads - grown).to.equal(1)
  })

  it('reads each page of small events once', async () => {
    await publish(1024)
    for (let after = 0; after < 1024; ) after = (await pageOf(after))?.end ?? 1024
    expect(broker.reads).to.equal(4)
  })

  it('does not return a page of another epoch', async () => {
    await publish(10)
    await pageOf(0)
    expect(history.kept(0, epoch)?.end).to.equal(10)
    expect(history.kept(0, 'another')).to.equal(undefined)
  })

  it('returns nothing once closed', async () => {
    history.close()
    expect(await pageOf(0)).to.equal(undefined)
  })
})
