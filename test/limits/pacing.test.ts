import { expect } from 'chai'
import { PACING_PRESETS, type PacingRates } from '../../lib/limits/pacing/pacing.js'
import { Pace } from '../../lib/stream/pace.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { createPacing } from '../helpers/internals.js'

const auth = (user: string, tenant = 'acme') => ({ user, tenant, expiresAt: 0, claims: {} })

describe('pacing', () => {
  let clock: FakeClock

  beforeEach(() => {
    clock = new FakeClock()
  })

  function spendAll(pacer: { spend(events: number, bytes: number): boolean }, bytes = 1): number {
    let spent = 0
    while (spent < 1000 && pacer.spend(1, bytes)) spent++
    return spent
  }

  it('takes tokens from all scopes or from none', () => {
    const pacing = createPacing(
      { stream: { capacity: 5, refillPerSecond: 1 }, tenant: { capacity: 7, refillPerSecond: 1 } },
      { clock },
    )
    const first = pacing.open({ auth: auth('a') })
    const second = pacing.open({ auth: auth('b') })
    expect(spendAll(first)).to.equal(5)
    expect(spendAll(second), 'the remaining tokens of the tenant').to.equal(2)
    // Its refusals consumed no tokens of the second stream's own bucket.
    pacing.configure({ tenant: { capacity: 100, refillPerSecond: 1000 } })
    clock.advance(10)
    expect(spendAll(second)).to.equal(3)
  })

  it('shares a bucket by user within the tenant, by tenant, by address, by session, and globally', () => {
    const session = {}
    for (const [scope, one, same, other] of [
      ['user', { auth: auth('a') }, { auth: auth('a') }, { auth: auth('a', 'globex') }],
      ['tenant', { auth: auth('a') }, { auth: auth('b') }, { auth: auth('a', 'globex') }],
      ['ip', { ip: '192.0.2.1' }, { ip: '::ffff:192.0.2.1' }, { ip: '192.0.2.2' }],
      ['session', { session }, { session }, { session: {} }],
    ] as const) {
      const pacing = createPacing({ [scope]: { capacity: 2, refillPerSecond: 1 } }, { clock })
      expect(spendAll(pacing.open(one)), scope).to.equal(2)
      expect(spendAll(pacing.open(same)), `${scope}, same`).to.equal(0)
      expect(spendAll(pacing.open(other)), `${scope}, other`).to.equal(2)
      const none = scope === 'ip' ? 2 : 1000
      expect(spendAll(pacing.open({})), `${scope}, without a key`).to.equal(none)
    }
    const all = createPacing({ global: { capacity: 2, refillPerSecond: 1 } }, { clock })
    expect([spendAll(all.open({})), spendAll(all.open({}))]).to.deep.equal([2, 0])
  })

  it('separates tenants and users with any names', () => {
    const pacing = createPacing({ user: { capacity: 2, refillPerSecond: 1 } }, { clock })
    for (const [tenant, user] of [
      ['acme', 'x\ny'],
      ['acme\nx', 'y'],
      ['acme:x', 'y'],
      ['acme', 'x:y'],
      ['acme', '\ud800'],
      ['acme', '\ud801'],
    ] as const) {
      expect(spendAll(pacing.open({ auth: auth(user, tenant) })), JSON.stringify([tenant, user])).to.equal(2)
    }
  })

  it('counts bytes with cost byte, and sends an event above the capacity with negative tokens', () => {
    const pacing = createPacing({ stream: { capacity: 1000, refillPerSecond: 100, cost: 'byte' } }, { clock })
    const pacer = pacing.open({})
    expect(spendAll(pacer, 300)).to.equal(3)
    expect(pacer.msUntil(1, 300)).to.equal(2000)
    expect(pacer.msUntil(1, 5000)).to.equal(9000)
    clock.advance(9000)
    expect(pacer.spend(1, 5000)).to.equal(true)
    expect(pacer.tokens()).to.equal(-4000)
    expect(pacer.msUntil(1, 100)).to.equal(41_000)
    clock.advance(99_999)
    expect(pacer.spend(2, 1500), 'several events cannot exceed the capacity').to.equal(false)
  })

  it('counts the events and bytes that a stream was granted', () => {
    const pacing = createPacing({ stream: { capacity: 2, refillPerSecond: 1 } }, { clock })
    const pace = new Pace(pacing.open({}), clock, () => undefined)
    expect([pace.events, pace.bytes]).to.deep.equal([0, 0])
    expect([pace.spend(1, 30), pace.spend(1, 12), pace.spend(1, 7)]).to.deep.equal([true, true, false])
    expect([pace.events, pace.bytes]).to.deep.equal([2, 42])
    pace.close()
  })

  it('resumes only streams that wait for tokens', () => {
    const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 1 } }, { clock })
    let resumed = 0
    const pace = new Pace(pacing.open({}), clock, () => resumed++)
    pacing.configure({ stream: { capacity: 1, refillPerSecond: 2 } })
    expect(resumed).to.equal(0)
    pace.spend(1, 1)
    expect([pace.spend(1, 1), pace.exhausted]).to.deep.equal([false, true])
    clock.advance(500)
    expect([resumed, pace.exhausted]).to.deep.equal([1, false])
    pace.close()
  })

  it('notifies waiting streams when rates change', () => {
    const pacing = createPacing({ stream: 'chat' }, { clock })
    const pacer = pacing.open({})
    expect(spendAll(pacer)).to.equal(PACING_PRESETS.chat.capacity)
    let notifications = 0
    pacer.onChange = () => notifications++
    pacing.configure({ stream: { capacity: 10, refillPerSecond: 1000 } })
    expect(notifications).to.equal(1)
    clock.advance(10)
    expect(spendAll(pacer)).to.equal(10)
    pacer.close()
    pacing.configure({ stream: 'telemetry' })
    expect(notifications).to.equal(1)
  })

  it('keeps no buckets of closed streams', () => {
    const pacing = createPacing({ stream: 'dashboard', user: 'telemetry' }, { clock })
    const pacers = Array.from({ length: 10 }, (_, i) => pacing.open({ auth: auth(`${i % 2}`) }))
    expect(pacing.size).to.equal(12)
    for (const pacer of [...pacers, ...pacers]) pacer.close()
    expect(pacing.size).to.equal(0)
  })

  it('rejects invalid rates with a code', () => {
    for (const rates of [
      { stream: { capacity: 0, refillPerSecond: 1 } },
      { stream: { capacity: 1, refillPerSecond: 0 } },
      { stream: { capacity: Number.NaN, refillPerSecond: 1 } },
      { stream: { capacity: Number.POSITIVE_INFINITY, refillPerSecond: 1 } },
      { stream: { capacity: 1, refillPerSecond: 1, cost: 'word' } },
      { stream: 'fast' },
      { planet: 'chat' },
    ]) {
      expect(() => createPacing(rates as PacingRates), JSON.stringify(rates))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
    const pacing = createPacing({ stream: 'chat' })
    expect(() => pacing.configure({ user: 'chat' }))
      .to.throw()
      .with.property('code', 'ERR_SSE_OPTION_INVALID')
  })
})
