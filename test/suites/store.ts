import { expect } from 'chai'
import type { KeyValueStore } from '../../lib/store/store.js'

export interface StoreHarness {
  readonly store: KeyValueStore
  /** A second view of the same data: the store of another process, or the same object if there is only one process. */
  readonly other: KeyValueStore
  /** Lets `ms` pass on the clock of the store's entries. */
  pass(ms: number): Promise<void>
}

/** The guarantees of every key-value store. */
export function storeSuite(start: () => Promise<StoreHarness>): void {
  let harness: StoreHarness
  let store: KeyValueStore

  beforeEach(async () => {
    harness = await start()
    store = harness.store
  })

  afterEach(async () => {
    await harness.store.close()
    await harness.other.close()
  })

  it('returns the values in the order of the keys, and undefined for a key without a value', async () => {
    await store.set('a', 'first', 10_000)
    await store.set('b', '', 10_000)
    expect(await store.get(['b', 'missing', 'a', 'b'])).to.deep.equal(['', undefined, 'first', ''])
    expect(await store.get([])).to.deep.equal([])
  })

  it('replaces a value and its expiry', async () => {
    await store.set('key', 'old', 50)
    await store.set('key', 'new', 10_000)
    await harness.pass(80)
    expect(await harness.other.get(['key'])).to.deep.equal(['new'])
  })

  it('expires a value after its ttl', async () => {
    await store.set('short', 'value', 50)
    await store.set('long', 'value', 10_000)
    await harness.pass(80)
    expect(await store.get(['short', 'long'])).to.deep.equal([undefined, 'value'])
  })

  it('grants exactly one of many concurrent claims', async () => {
    const claims = Array.from({ length: 50 }, (_, index) =>
      (index % 2 === 0 ? store : harness.other).claim('lock', String(index), 10_000),
    )
    const won = await Promise.all(claims)
    expect(won.filter(Boolean)).to.have.length(1)
    expect(await store.get(['lock'])).to.deep.equal([String(won.indexOf(true))])
  })

  it('does not replace a value by a claim until the value is deleted or expires', async () => {
    await store.set('key', 'value', 10_000)
    expect(await store.claim('key', 'claimed', 10_000)).to.equal(false)
    expect(await store.get(['key'])).to.deep.equal(['value'])
    await store.delete('key')
    await store.delete('key')
    expect(await store.claim('key', 'claimed', 50)).to.equal(true)
    await harness.pass(80)
    expect(await store.claim('key', 'again', 10_000)).to.equal(true)
  })

  it('returns a value to exactly one of many concurrent takes, and deletes it', async () => {
    await store.set('ticket', 'value', 10_000)
    const taken = await Promise.all(
      Array.from({ length: 50 }, (_, index) => (index % 2 === 0 ? store : harness.other).take('ticket')),
    )
    expect(taken.filter((value) => value !== undefined)).to.deep.equal(['value'])
    expect(await store.get(['ticket'])).to.deep.equal([undefined])
    expect(await store.claim('ticket', 'again', 10_000)).to.equal(true)
  })

  it('takes nothing if there is no value, or it has expired', async () => {
    await store.set('key', 'value', 50)
    expect(await store.take('missing')).to.equal(undefined)
    await harness.pass(80)
    expect(await store.take('key')).to.equal(undefined)
  })

  it('keeps unusual keys and values separate and unchanged', async () => {
    const odd = ['', ' ', '\n', '\0', '*', '{a}', 'ключ', '🗝️', 'a:b', 'a%3Ab']
    for (const [index, key] of odd.entries()) await store.set(key, `${index}${key}`, 10_000)
    expect(await store.get(odd)).to.deep.equal(odd.map((key, index) => `${index}${key}`))
  })

  for (const ttlMs of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    it(`rejects a ttl of ${ttlMs}`, async () => {
      for (const attempt of [store.set('key', 'value', ttlMs), store.claim('key', 'value', ttlMs)]) {
        const error = await attempt.then(
          () => undefined,
          (reason: unknown) => reason,
        )
        expect(error).to.have.property('code', 'ERR_SSE_OPTION_INVALID')
      }
      expect(await store.get(['key'])).to.deep.equal([undefined])
    })
  }

  it('rejects every operation after close, and can be closed twice', async () => {
    await Promise.all([store.close(), store.close()])
    for (const attempt of [
      store.get(['key']),
      store.set('key', 'value', 1000),
      store.claim('key', 'value', 1000),
      store.take('key'),
      store.delete('key'),
    ]) {
      const error = await attempt.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error).to.have.property('code', 'ERR_SSE_CLOSED')
    }
  })
}
