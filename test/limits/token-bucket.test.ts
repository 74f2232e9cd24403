import { expect } from 'chai'
import fc from 'fast-check'
import { BucketRegistry } from '../../lib/limits/pacing/bucket-registry.js'
import { TokenBucket } from '../../lib/limits/token-bucket.js'

const rate = fc.record({
  capacity: fc.integer({ min: 1, max: 50 }),
  refillPerSecond: fc.integer({ min: 1, max: 100 }),
})
const steps = fc.array(
  fc.record({ waitMs: fc.integer({ min: 0, max: 2000 }), cost: fc.integer({ min: 0, max: 20 }) }),
  {
    minLength: 10,
    maxLength: 60,
    size: 'max',
  },
)

describe('a token bucket', () => {
  it('never grants more than burst + refill × elapsed over any span, and grants as soon as possible', () => {
    fc.assert(
      fc.property(rate, steps, ({ capacity, refillPerSecond }, sequence) => {
        const bucket = new TokenBucket({ capacity, refillPerSecond }, 0)
        const spent: { at: number; cost: number }[] = []
        let now = 0
        for (const { waitMs, cost } of sequence) {
          now += waitMs
          const wait = bucket.msUntil(cost, now)
          if (cost > capacity) {
            expect(wait).to.be.greaterThan(0)
            continue
          }
          now += wait
          expect(bucket.msUntil(cost, now)).to.be.lessThan(0.001)
          bucket.spend(cost, now)
          spent.push({ at: now, cost })
          for (let first = 0; first < spent.length; first++) {
            const span = now - (spent[first]?.at ?? 0)
            const sum = spent.slice(first).reduce((total, each) => total + each.cost, 0)
            expect(sum).to.be.at.most(capacity + (refillPerSecond * span) / 1000 + 0.001)
          }
        }
      }),
    )
  })

  it('is full at the start and after long enough, and not before', () => {
    const bucket = new TokenBucket({ capacity: 10, refillPerSecond: 5 }, 0)
    expect(bucket.isFull(0)).to.equal(true)
    bucket.spend(10, 0)
    expect(bucket.tokens(1000)).to.equal(5)
    expect(bucket.isFull(1999)).to.equal(false)
    expect(bucket.isFull(2000)).to.equal(true)
    expect(bucket.tokens(99_999)).to.equal(10)
  })

  it('keeps its tokens, at most the new capacity, when the rate changes', () => {
    const bucket = new TokenBucket({ capacity: 10, refillPerSecond: 1 }, 0)
    bucket.configure({ capacity: 4, refillPerSecond: 2 }, 0)
    expect(bucket.tokens(0)).to.equal(4)
    bucket.spend(4, 0)
    bucket.configure({ capacity: 100, refillPerSecond: 10 }, 1000)
    expect(bucket.tokens(1000)).to.equal(2)
    expect(bucket.tokens(2000)).to.equal(12)
  })
})

describe('a registry of buckets', () => {
  it('returns one bucket per key, and removes it when it is full and not in use', () => {
    const registry = new BucketRegistry({ capacity: 10, refillPerSecond: 10 })
    const bucket = registry.acquire('a', 0)
    expect(registry.acquire('a', 0)).to.equal(bucket)
    registry.release('a', 0)
    expect(registry.size).to.equal(1)
    registry.release('a', 0)
    expect(registry.size).to.equal(0)
  })

  it('keeps the spent tokens from one stream to the next', () => {
    const registry = new BucketRegistry({ capacity: 10, refillPerSecond: 1 })
    registry.acquire('a', 0).spend(10, 0)
    registry.release('a', 0)
    for (let i = 0; i < 10; i++) registry.acquire(i, 500)
    expect(registry.acquire('a', 1000).tokens(1000)).to.equal(1)
  })

  it('stays bounded for any keys', () => {
    const registry = new BucketRegistry({ capacity: 10, refillPerSecond: 10 }, 100)
    for (let i = 0; i < 10_000; i++) {
      registry.acquire(i, i).spend(1, i)
      registry.release(i, i)
    }
    expect(registry.size).to.be.at.most(100)
    // 100 ms after the last spending all buckets are full: each new key removes two old ones.
    for (let i = 0; i < 100; i++) {
      registry.acquire(`later ${i}`, 20_000)
      registry.release(`later ${i}`, 20_000)
    }
    expect(registry.size).to.equal(0)
  })

  it('does not remove a key that is in use, even above its bound', () => {
    const registry = new BucketRegistry({ capacity: 10, refillPerSecond: 10 }, 2)
    const first = registry.acquire('first', 0)
    for (let i = 0; i < 5; i++) registry.acquire(i, 0)
    expect(registry.acquire('first', 0)).to.equal(first)
  })
})
