import { expect } from 'chai'
import { createStore } from '../../lib/store/create.js'
import { MemoryStore } from '../../lib/store/memory.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { storeSuite } from '../suites/store.js'

describe('MemoryStore', () => {
  storeSuite(async () => {
    const clock = new FakeClock()
    const store = createStore({ clock })
    return { store, other: store, pass: async (ms) => clock.advance(ms) }
  })

  it('keeps at most maxEntries and evicts the entry that was set first', async () => {
    const store = new MemoryStore({ maxEntries: 3, clock: new FakeClock() })
    for (const key of ['a', 'b', 'c']) await store.set(key, key, 10_000)
    await store.set('a', 'again', 10_000)
    await store.set('d', 'd', 10_000)
    expect(await store.get(['a', 'b', 'c', 'd'])).to.deep.equal(['again', undefined, 'c', 'd'])
    expect(store.size).to.equal(3)
    await store.close()
  })

  it('keeps at most maxBytes of entries, and always the newest one', async () => {
    const clock = new FakeClock()
    const store = new MemoryStore({ maxBytes: 100_000, clock })
    const page = 'x'.repeat(10_000)
    for (let n = 0; n < 50; n++) await store.set(`page:${n}`, page, 10_000)
    expect(store.size).to.equal(4)
    // Replaced, deleted and expired entries do not count.
    for (let n = 0; n < 50; n++) await store.set('page:49', page, 20_000)
    expect(store.size).to.equal(4)
    await store.delete('page:48')
    clock.advance(10_000)
    for (let n = 50; n < 53; n++) await store.set(`page:${n}`, page, 10_000)
    expect(store.size).to.equal(4)
    await store.set('large', 'x'.repeat(100_000), 10_000)
    expect([store.size, (await store.get(['large']))[0]?.length]).to.deep.equal([1, 100_000])
    await store.close()
  })

  it('removes expired entries before it evicts others', async () => {
    const clock = new FakeClock()
    const store = new MemoryStore({ maxEntries: 3, clock })
    await store.set('oldest', 'value', 10_000)
    await store.set('short', 'value', 10)
    await store.set('newer', 'value', 10_000)
    clock.advance(10)
    await store.set('newest', 'value', 10_000)
    expect(await store.get(['oldest', 'short', 'newer', 'newest'])).to.deep.equal([
      'value',
      undefined,
      'value',
      'value',
    ])
    await store.close()
  })

  it('stays within its bound under 250,000 different keys', async () => {
    const clock = new FakeClock()
    const store = new MemoryStore({ clock })
    for (let index = 0; index < 250_000; index++) await store.claim(`key:${index}`, 'x', 86_400_000)
    expect(store.size).to.be.within(99_000, 100_000)
    expect(clock.pending).to.equal(store.size)
    expect(await store.get(['key:0', 'key:249999', 'key:155000'])).to.deep.equal([undefined, 'x', 'x'])
    await store.close()
  })

  it('removes all entries and timers when they expire and when it closes', async () => {
    const clock = new FakeClock()
    const store = new MemoryStore({ clock })
    await store.set('a', 'a', 10)
    await store.set('b', 'b', 20)
    await store.delete('b')
    clock.advance(10)
    expect([store.size, clock.pending]).to.deep.equal([0, 0])
    await store.set('c', 'c', 10)
    await store.close()
    expect(clock.pending).to.equal(0)
  })

  it('does not return an expired entry that a late timer has not removed yet', async () => {
    const clock = new FakeClock()
    const late = {
      now: () => clock.now(),
      wallTime: () => clock.wallTime(),
      after: () => ({ cancel: () => undefined }),
    }
    const store = new MemoryStore({ clock: late })
    await store.set('key', 'value', 10)
    await store.set('other', 'value', 10)
    clock.advance(10)
    expect(await store.get(['key'])).to.deep.equal([undefined])
    expect(await store.take('other')).to.equal(undefined)
    expect(await store.claim('key', 'claimed', 10)).to.equal(true)
    await store.close()
  })

  it('rejects a bound that is not a whole number from 1', () => {
    for (const maxEntries of [0, -1, 1.5, Number.NaN]) {
      expect(() => new MemoryStore({ maxEntries }))
        .to.throw('maxEntries')
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
  })
})
