/** One process of a fleet that checks requests against a limit; no HTTP, so that nothing but the check is measured. */
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { RateLimiterRedis } from 'rate-limiter-flexible'
import { rateLimit } from '../../dist/index.js'
import { optionsOf } from '../harness/processes.mjs'

const TICK_MS = 5
const AT_ONCE = 10
const { redis, users, points, kit } = optionsOf()

/** Each calls back whether the request may pass, at once or later. */
const limit = kit ? withKit() : withLibrary()
const nothing = (_request, then) => then(false)

/** `idle`: without a limit, to measure the cost of the loop. */
process.on('message', async ({ type, idle, seconds, perSecond }) => {
  const round = startRound(idle ? nothing : limit, 'bench')
  const figures = type === 'pace' ? await pace(round, perSecond, seconds) : await hammer(round, seconds)
  process.send({ type: 'checked', ...figures })
})
process.on('disconnect', () => process.exit())
await hammer(startRound(limit, 'warm-up'), 0.5)
process.send({ type: 'listening', pids: [process.pid] })

/** So many checks a second, one user after the other, a few every `TICK_MS`; each is timed. */
async function pace(round, perSecond, seconds) {
  const tookMicros = []
  const begin = performance.now()
  let checks = 0
  for (let elapsed = 0; elapsed < seconds * 1000; elapsed = performance.now() - begin) {
    const due = Math.floor((elapsed * perSecond) / 1000)
    for (; checks < due; checks++) {
      const calledAt = performance.now()
      round.check(checks % users, () => tookMicros.push((performance.now() - calledAt) * 1000))
    }
    await sleep(TICK_MS)
  }
  while (tookMicros.length < checks) await sleep(TICK_MS)
  return { checks, tookMicros, admissions: round.admissions }
}

/** As fast as possible, with `AT_ONCE` under way. */
async function hammer(round, seconds) {
  const end = performance.now() + seconds * 1000
  let checks = 0
  let decided = 0
  const count = () => {
    decided++
  }
  while (performance.now() < end) {
    const due = decided + AT_ONCE
    while (checks < due) round.check(checks++ % users, count)
    await turn()
  }
  while (decided < checks) await turn()
  return { checks, admissions: round.admissions }
}

/** `admissions`: when each user's requests were admitted, in ms since 1970. */
function startRound(check, tenant) {
  const requests = Array.from({ length: users }, (_, i) => ({
    auth: { tenant, user: `user ${i}`, expiresAt: Number.POSITIVE_INFINITY, claims: {} },
  }))
  const admissions = requests.map(() => [])
  return {
    admissions,
    check: (user, then) => {
      const calledAt = Date.now()
      let atOnce = true
      check(requests[user], (admitted) => {
        // A synchronous decision used a lease that existed already.
        if (admitted) admissions[user].push(atOnce ? calledAt : Date.now())
        then()
      })
      atOnce = false
    },
  }
}

/** The complete middleware: it creates headers and answers, but does not send them. */
function withKit() {
  const middleware = rateLimit({ by: 'user', points, redis, timeoutMs: 5000, ...kit })
  const ignore = () => undefined
  return (request, then) => {
    const response = { headersSent: false, getHeader: ignore, setHeader: ignore, end: () => then(false) }
    middleware(request, response, (error) => {
      if (error !== undefined) throw error
      then(true)
    })
  }
}

/** The check alone. */
function withLibrary() {
  const limiter = new RateLimiterRedis({ storeClient: new Redis(redis), points, duration: 60 })
  return ({ auth }, then) => {
    limiter.consume(`${auth.tenant} ${auth.user}`).then(
      () => then(true),
      () => then(false),
    )
  }
}
