import { expect } from 'chai'
import type { LogEntry } from '../../lib/core/message.js'
import { Page } from '../../lib/multiplexer/channel/page.js'
import { PageStore } from '../../lib/multiplexer/channel/page-store.js'
import { FakeClock } from '../helpers/fake-clock.js'

const MEGABYTE = 1_048_576

describe('the pages that a process keeps', () => {
  function page(after: number, bytes: number): Page {
    const entry = { epoch: 'aaaaaa', offset: after + 1, body: Buffer.alloc(bytes) } as unknown as LogEntry
    return new Page(after, { head: entry, entries: [entry], end: after + 1 })
  }

  it('take at most 32 MiB with their chunks, over all channels: the oldest are evicted', () => {
    const store = new PageStore(new FakeClock())
    const [a, b] = [{}, {}]
    for (let i = 0; i < 8; i++) store.keep(a, page(i, MEGABYTE))
    for (let i = 0; i < 8; i++) store.keep(b, page(i, MEGABYTE))
    expect(store.get(a, 0)).to.not.equal(undefined)
    store.keep(b, page(8, MEGABYTE))
    expect(store.get(a, 0)).to.equal(undefined)
    expect(store.get(a, 1)).to.not.equal(undefined)
    store.keep(b, page(9, 20 * MEGABYTE))
    expect(store.get(b, 9), 'larger than all there is room for').to.equal(undefined)
    expect(store.get(a, 1)).to.not.equal(undefined)
  })

  it('are dropped after some seconds, and when their channel drops them', () => {
    const clock = new FakeClock()
    const store = new PageStore(clock)
    const [a, b] = [{}, {}]
    store.keep(a, page(0, 10))
    store.keep(b, page(0, 10))
    store.forget(a)
    expect([store.get(a, 0), store.get(b, 0)?.end]).to.deep.equal([undefined, 1])
    clock.advance(3000)
    store.keep(b, page(0, 20))
    clock.advance(3000)
    expect(store.get(b, 0)?.bytes, 'read again meanwhile').to.equal(20)
    clock.advance(3000)
    expect(store.get(b, 0)).to.equal(undefined)
  })

  it('are read eight at a time, whether reads succeed or fail', async () => {
    const store = new PageStore(new FakeClock())
    const underWay: ((error?: Error) => void)[] = []
    let most = 0
    const reads = Array.from({ length: 30 }, (_, i) =>
      store
        .reading(
          () =>
            new Promise<number>((resolve, reject) => {
              underWay.push((error) => (error ? reject(error) : resolve(i)))
              most = Math.max(most, underWay.length)
            }),
        )
        .catch(() => -1),
    )
    for (let done = 0; done < 30; done++) {
      while (underWay.length === 0) await new Promise(setImmediate)
      underWay.shift()?.(done % 3 === 0 ? new Error('away') : undefined)
    }
    const answers = await Promise.all(reads)
    expect(most).to.equal(8)
    expect(answers.filter((answer) => answer === -1)).to.have.length(10)
  })
})

describe('a page with holes', () => {
  const entries = [3, 4, 7, 9].map((offset) => ({ epoch: 'aaaaaa', offset, body: Buffer.from('x') }) as LogEntry)
  const page = new Page(0, { head: { epoch: 'aaaaaa', offset: 12 }, entries, end: 11 })

  it('reports the gap after each offset, up to its end', () => {
    const missing = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((offset) => page.missingAfter(offset))
    expect(missing).to.deep.equal([2, 2, 2, 3, 6, 6, 6, 8, 8, 11, 11, 11, 12])
  })

  it('has the entries that exist, and no others', () => {
    const there = Array.from({ length: 14 }, (_, offset) => page.at(offset)?.offset)
    expect(there.filter((offset) => offset !== undefined)).to.deep.equal([3, 4, 7, 9])
  })
})
