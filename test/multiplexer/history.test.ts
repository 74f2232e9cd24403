import { expect } from 'chai'
import { MemoryBroker } from '../../lib/broker/memory.js'
import type { HistoryPage } from '../../lib/core/ports.js'
import { History } from '../../lib/multiplexer/history.js'
import type { Page } from '../../lib/multiplexer/page.js'
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
    const event = encodePublished({ data: 'x'.repeat(bytes) })
    for (let left = count; left > 0; left -= 100) {
      await broker.publishMany('log', Array(Math.min(left, 100)).fill(event))
    }
  }

  /** As a reader does it. */
  async function pageOf(after: number): Promise<Page | undefined> {
    return history.kept(after, epoch) ?? history.read(after)
  }

  async function lastOf(after: number): Promise<number | undefined> {
    return (await pageOf(after))?.last
  }

  it('reads a page once for all who need it at the same time and in the next seconds', async () => {
    await publish(600)
    expect(await Promise.all([lastOf(0), lastOf(7), lastOf(255)])).to.deep.equal([256, 256, 256])
    clock.advance(4000)
    expect([await lastOf(3), await lastOf(256)]).to.deep.equal([256, 512])
    expect(broker.reads).to.equal(2)
    clock.advance(1500)
    expect([await lastOf(3), await lastOf(256)]).to.deep.equal([256, 512])
    expect(broker.reads).to.equal(3)
  })

  it('reads again where what it has does not reach far enough', async () => {
    await publish(100)
    expect(await lastOf(50)).to.equal(100)
    await publish(1)
    expect(await lastOf(99)).to.equal(100)
    expect(broker.reads).to.equal(1)
    expect(await lastOf(100)).to.equal(101)
    expect(await lastOf(50)).to.equal(101)
    expect(broker.reads).to.equal(2)
  })

  it('forgets what it has, and what is under way', async () => {
    await publish(10)
    await pageOf(0)
    history.forget()
    const underWay = pageOf(0)
    history.forget()
    await underWay
    await pageOf(0)
    expect(broker.reads).to.equal(3)
  })

  it('keeps a megabyte at most, the latest read', async () => {
    await publish(1024, 2000)
    for (const page of [0, 1, 2, 3]) await pageOf(page * 256)
    for (const page of [3, 2]) await pageOf(page * 256)
    expect(broker.reads).to.equal(4)
    await pageOf(0)
    expect(broker.reads).to.equal(5)
  })

  it('does not take for the log what it read of another life of it', async () => {
    await publish(10)
    await pageOf(0)
    expect(history.kept(0, epoch)?.last).to.equal(10)
    expect(history.kept(0, 'another')).to.equal(undefined)
  })

  it('answers nothing once closed', async () => {
    history.close()
    expect(await pageOf(0)).to.equal(undefined)
  })
})
