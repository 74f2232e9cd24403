import { EventEmitter } from 'node:events'
import { expect } from 'chai'
import type { Redis } from 'ioredis'
import { type RateLimitHandler, rateLimit } from '../../../lib/routers/rate-limit.js'
import { eventually } from '../../helpers/eventually.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { commandCalls, type RedisServer } from '../../helpers/redis-server.js'
import { startSuiteRedis } from '../../helpers/suite-redis.js'
import { ask, request } from './support.js'

/** 24 days, in seconds: no window ends during a test. */
const LONG = 2_073_600
const alice = request({ user: 'alice' })

describe('request limits of a machine that was suspended', () => {
  let server: RedisServer
  let admin: Redis
  let clock: FakeClock
  let limiter: RateLimitHandler

  startSuiteRedis((started) => {
    ;({ server, admin } = started)
  })

  beforeEach(() => {
    clock = new FakeClock()
  })

  afterEach(async () => {
    await limiter.close()
    await admin.flushall()
  })

  function calls(): Promise<number> {
    return commandCalls(admin, 'evalsha')
  }

  for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
    it(`admit nothing by a lease that expired during the suspension: ${algorithm}`, async () => {
      limiter = rateLimit({ redis: server.url, clock, by: 'user', points: 64_000, duration: LONG, algorithm })
      await ask(limiter, alice)
      const before = await calls()
      await ask(limiter, alice)
      expect(await calls(), 'leased').to.equal(before)
      clock.setWallClock(LONG * 1000)
      await ask(limiter, alice)
      expect(await calls(), 'another call').to.equal(before + 1)
    })
  }

  it('return nothing to a later window: exact', async () => {
    const countWhen = (): boolean => false
    limiter = rateLimit({ redis: server.url, clock, by: 'user', points: 10, duration: LONG, mode: 'exact', countWhen })
    const exchange = (): [{ req: object; res: EventEmitter & { headersSent: boolean } }, Promise<void>] => {
      const req = { ...alice, socket: {} }
      const res = Object.assign(new EventEmitter(), { headersSent: false, setHeader: () => undefined })
      return [{ req, res }, new Promise((resolve) => void limiter(alice, res as never, () => resolve()))]
    }
    const [suspended, admitted] = exchange()
    await admitted
    const [key] = (await admin.keys('*')) as [string]
    // The next window, of which half remains.
    await admin.set(key, 5, 'PX', LONG * 500)
    clock.setWallClock(LONG * 1000)
    suspended.res.headersSent = true
    suspended.res.emit('close')
    const [, next] = exchange()
    await next
    await eventually(async () => Number(await admin.get(key)) >= 6)
    expect(await admin.get(key)).to.equal('6')
  })
})
