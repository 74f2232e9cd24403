import { expect } from 'chai'
import { LeaseLimiter } from '../../../lib/limits/requests/lease-limiter.js'
import type { Charge, LimitDecision } from '../../../lib/limits/requests/limiter.js'
import type { LimiterConnection } from '../../../lib/limits/requests/limiter-connection.js'
import { type RateLimitOptions, resolveRateLimit } from '../../../lib/limits/requests/options.js'
import type { Message } from '../../../lib/limits/requests/scripts.js'
import { FakeClock } from '../../helpers/fake-clock.js'

/** The part of a connection that leases use: answers as the test defines, or is unavailable. */
class FakeConnection {
  available = true
  sent = 0
  onRecovered = (): void => undefined
  readonly #clock: FakeClock
  answer: (args: readonly (string | number)[]) => readonly number[] = () => []

  constructor(clock: FakeClock) {
    this.#clock = clock
  }

  async send(compose: () => Message): Promise<void> {
    const { args, receive } = compose()
    this.sent++
    const sentAt = this.#clock.now()
    receive(this.answer(args), sentAt)
  }

  async sendAll(composers: readonly (() => Message)[]): Promise<void> {
    for (const compose of composers) await this.send(compose)
  }

  stopRequests(): void {
    this.available = false
  }

  close(): void {
    this.available = false
  }
}

describe('the leases of request limits', () => {
  let clock: FakeClock
  let connection: FakeConnection
  let limiter: LeaseLimiter | undefined

  beforeEach(() => {
    clock = new FakeClock()
    connection = new FakeConnection(clock)
  })

  afterEach(async () => {
    await limiter?.close()
  })

  /** @returns whether requests are admitted */
  function start(options: RateLimitOptions, shared = true): (points: number, cost?: number) => Promise<boolean> {
    const decide = startDeciding(options, shared)
    return async (points, cost) => (await decide(points, cost))?.admitted === true
  }

  function startDeciding(
    options: RateLimitOptions,
    shared = true,
  ): (points: number, cost?: number) => Promise<LimitDecision> {
    const { limits } = resolveRateLimit(options)
    const limit = limits[0] as (typeof limits)[number]
    const started = new LeaseLimiter({
      limits,
      clock,
      connection: shared ? (connection as unknown as LimiterConnection) : undefined,
      failOpen: true,
    })
    limiter = started
    return async (points, cost = 1) => {
      const charge: Charge = { limit, key: 'key', points, cost }
      return await started.check([charge])
    }
  }

  for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
    it(`admit at most localPoints per key without Redis, for any points: ${algorithm}`, async () => {
      const ask = start({ by: 'user', points: () => 1, localPoints: 10, duration: 3600, algorithm })
      connection.available = false
      let admitted = 0
      for (let i = 0; i < 400; i++) if (await ask(5 + (i % 20))) admitted++
      expect(admitted).to.equal(10)
    })

    it(`admit per key without Redis at most the highest points of its requests: ${algorithm}`, async () => {
      const ask = start({ by: 'user', points: () => 1, duration: 3600, algorithm })
      connection.available = false
      let admitted = 0
      for (let i = 0; i < 400; i++) if (await ask(5 + (i % 20))) admitted++
      expect(admitted).to.be.at.most(24)
    })

    it(`admit localPoints per duration without Redis, plus the refill: ${algorithm}`, async () => {
      const ask = start({ by: 'user', points: 1000, localPoints: 10, duration: 60, algorithm })
      connection.available = false
      let admitted = 0
      for (let s = 0; s < 60; s++) {
        for (let i = 0; i < 10; i++) if (await ask(1000)) admitted++
        clock.advance(1000 - (s === 59 ? 1 : 0))
      }
      expect(admitted).to.be.at.most(20)
    })
  }

  it('estimate the tokens in Redis by the time that has passed: token-bucket', async () => {
    const ask = startDeciding({ by: 'user', points: 100, duration: 10, algorithm: 'token-bucket' })
    connection.answer = () => [2, 2, 50, 0]
    const [state] = (await ask(100))?.states ?? []
    expect(state?.remaining(clock.now())).to.equal(51)
    clock.advance(900)
    expect([state?.remaining(clock.now()), state?.resetMs(clock.now())]).to.deep.equal([60, 4000])
  })

  it('announce the time that a refill takes, or a short pause if other processes hold the tokens', async () => {
    const ask = startDeciding({ by: 'user', points: 100, duration: 10, algorithm: 'token-bucket' })
    connection.answer = () => [0, 0, 0, 300]
    expect(await ask(100, 50)).to.deep.include({ admitted: false, retryMs: 5000 })
    clock.advance(5000)
    connection.answer = () => [0, 0, 0, 0]
    const decision = await ask(100, 50)
    expect(decision).to.have.property('retryMs').that.is.within(1, 1000)
  })

  it('announce the end of the window, and a whole one once it has ended', async () => {
    const ask = startDeciding({ by: 'user', points: 10, duration: 60 })
    connection.answer = (args) => [170_000_000, Number(args[8]) || 1, 1, 5, 0, 20_000, 0]
    const [state] = (await ask(10))?.states ?? []
    expect(state?.resetMs(clock.now())).to.be.within(19_000, 20_000)
    connection.available = false
    clock.advance(20_000)
    expect(state?.resetMs(clock.now())).to.equal(60_000)
  })

  it('announce the time that the smaller bucket without Redis takes to refill', async () => {
    const bucket = { points: 100, localPoints: 10, duration: 10, algorithm: 'token-bucket' } as const
    const ask = startDeciding({ by: 'user', ...bucket })
    connection.available = false
    for (let i = 0; i < 10; i++) expect((await ask(100))?.admitted).to.equal(true)
    expect(await ask(100)).to.deep.include({ admitted: false, retryMs: 1000 })
  })

  it('leave the tokens for the time without Redis alone while there is a lease', async () => {
    const ask = start({ by: 'user', points: 10, duration: 10, algorithm: 'token-bucket' })
    connection.answer = () => [8, 8, 0, 0]
    for (let i = 0; i < 8; i++) expect(await ask(10)).to.equal(true)
    connection.available = false
    clock.advance(1001)
    let admitted = 0
    for (let i = 0; i < 20; i++) if (await ask(10)) admitted++
    expect(admitted).to.equal(10)
  })

  it('report to Redis once that all points are consumed', async () => {
    const ask = start({ by: 'user', points: 1, duration: 3600 })
    connection.answer = (args) => [170_000_000, Number(args[8]) || 1, 1, 0, 0, 3_600_000, 0]
    expect(await ask(1)).to.equal(true)
    const sent: number[] = []
    for (let sweeps = 0; sweeps < 5; sweeps++) {
      clock.advance(1000)
      await new Promise(setImmediate)
      sent.push(connection.sent)
    }
    expect(sent.at(-1)).to.equal(2)
  })

  it('request ever less often while Redis grants nothing', async () => {
    const ask = start({ by: 'user', points: 4, duration: 3600 })
    connection.answer = () => [170_000_000, 0, 0, 0, 0, 3_600_000, 0]
    for (let ms = 0; ms < 20_000; ms += 50) {
      expect(await ask(4)).to.equal(false)
      clock.advance(50)
    }
    // Pauses that do not grow would be about 200 requests.
    expect(connection.sent).to.be.within(10, 80)
  })

  for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
    for (const [countWhen, name] of [
      [undefined, 'every request counts'],
      [() => true, 'with countWhen'],
    ] as const) {
      it(`request more points before the last are taken, so that no request waits: ${algorithm}, ${name}`, async () => {
        const ask = start({ by: 'user', points: 100, duration: 3600, algorithm, ...(countWhen && { countWhen }) })
        const leased = algorithm === 'fixed-window' ? [170_000_000, 8, 8, 50, 0, 3_600_000, 0] : [8, 8, 50, 0]
        connection.answer = () => leased
        const sent: number[] = []
        for (let i = 0; i < 7; i++) {
          expect(await ask(100)).to.equal(true)
          await new Promise(setImmediate)
          sent.push(connection.sent)
        }
        expect(sent).to.deep.equal([1, 1, 1, 1, 1, 1, 2])
      })
    }
  }

  it('keep what was consumed in a window that Redis has not begun yet', async () => {
    const ask = start({ by: 'user', points: 4, duration: 10 })
    const offset = clock.wallTime() - clock.now()
    const window = Math.ceil(clock.wallTime() / 10_000)
    connection.available = false
    clock.advance(window * 10_000 - offset - clock.now() + 50)
    for (let i = 0; i < 4; i++) expect(await ask(4)).to.equal(true)
    expect(await ask(4)).to.equal(false)
    // Redis's clock is 100 ms behind.
    connection.available = true
    connection.answer = (args) => [window - 1, Number(args[8]), Number(args[8]), 3, 0, 50, clock.wallTime() - 100]
    expect(await ask(4)).to.equal(false)
    clock.advance(50)
    connection.answer = (args) => {
      const consumed = args[5] === window ? Number(args[7]) : 0
      const granted = Math.min(4 - consumed, Number(args[8]))
      return [window, consumed + granted, granted, 4 - consumed - granted, consumed, 10_000, clock.wallTime() - 100]
    }
    expect(await ask(4)).to.equal(false)
  })

  it('end a pause at the end of its window', async () => {
    const ask = start({ by: 'user', points: 4, duration: 10 })
    const window = 170_000_000
    const turn = clock.now() + 1501
    const remaining = (): number => Math.max(0, turn - clock.now())
    // Other processes have leased all points, and used none.
    connection.answer = () => [window, 0, 0, 0, 0, remaining(), 0]
    // Each pause is longer than the one before it, the last 500 ms at least.
    for (const pause of [100, 200, 400, 800, 0]) {
      expect(await ask(4)).to.equal(false)
      clock.advance(pause)
    }
    clock.advance(remaining())
    connection.answer = (args) => [window + 1, Number(args[8]) || 1, 1, 3, 0, 10_000, 0]
    expect(await ask(4)).to.equal(true)
  })

  it('do not use the wall clock after they have started', async () => {
    for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
      let offset = 0
      clock.wallTime = () => 1_700_000_000_000 + clock.now() + offset
      const ask = start({ by: 'user', points: 5, duration: 3600, algorithm }, false)
      for (let i = 0; i < 5; i++) expect(await ask(5)).to.equal(true)
      for (const jump of [3_600_000, -7_200_000, 86_400_000]) {
        offset += jump
        expect(await ask(5), `${jump} ms`).to.equal(false)
      }
    }
  })
})
