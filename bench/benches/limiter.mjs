/** The cost and the exactness of a request limit: four processes on one Redis, all users on all of them. */
import { Redis } from 'ioredis'
import { chosen } from '../harness/contestants.mjs'
import { ask, cpuMicros, message, SERVER_CORE, start, startRedis, stop } from '../harness/processes.mjs'
import { inTurn, quantile } from '../harness/stats.mjs'

const POINTS = 1000
/** A bucket fills up in a minute. */
const REFILL_PER_MS = POINTS / 60_000
const PROCESSES = 4
/** Of each process: so that each user sends in a few seconds as many requests as its limit for a minute. */
const PER_SECOND = 5000

const CONTESTANTS = {
  'kit, fixed window': { kit: { duration: 60 }, windowMs: 60_000 },
  'kit, fixed window of 2 s': { kit: { duration: 2 }, windowMs: 2000 },
  'kit, token bucket': { kit: { duration: 60, algorithm: 'token-bucket' } },
  RateLimiterRedis: {},
}
const KIT = Object.keys(CONTESTANTS).slice(0, 3)

export const limiter = {
  title: (users) =>
    `${PROCESSES} processes on one Redis, ${users} users with ${POINTS.toLocaleString('en')} points each; paced at ` +
    `${(PROCESSES * PER_SECOND).toLocaleString('en')} checks a second, then hammered`,
  defaults: { streams: 100, seconds: 4, runs: 1 },
  columns: [
    { key: 'most', title: 'most admitted of a user in a window, or above the refill', digits: 1 },
    { key: 'under', title: 'points not admitted while hammered, %', digits: 2 },
    { key: 'calls', title: 'hammered: Redis calls a check', digits: 4 },
    { key: 'cpu', title: 'hammered: CPU a check, µs', digits: 2, ratio: true },
    { key: 'pacedCalls', title: 'paced: Redis calls a check', digits: 4 },
    { key: 'pacedCpu', title: 'paced: CPU a check, µs', digits: 2 },
    { key: 'p50', title: 'paced: check p50, µs', digits: 1 },
    { key: 'p99', title: 'paced: check p99, µs', digits: 1 },
  ],
  goals: KIT.flatMap((of) => [
    { of, figure: 'most', atMost: POINTS },
    { of, figure: 'calls', atMost: 0.05 },
    { of, to: 'RateLimiterRedis', figure: 'cpu', atMost: 0.1 },
    { of, to: 'RateLimiterRedis', figure: 'p50', atMost: 1 },
    { of, to: 'RateLimiterRedis', figure: 'p99', atMost: 1 },
  ]),
  run: ({ streams, seconds, runs, only }) =>
    inTurn(chosen(Object.keys(CONTESTANTS), only), runs, (name) => measure(CONTESTANTS[name], streams, seconds)),
}

async function measure({ kit, windowMs }, users, seconds) {
  const { child, url } = await startRedis()
  const admin = new Redis(url)
  const fleet = Array.from({ length: PROCESSES }, () =>
    start('servers/limiter.mjs', SERVER_CORE, { redis: url, users, points: POINTS, kit }),
  )
  const pids = (await Promise.all(fleet.map((each) => message(each, 'listening')))).flatMap((each) => each.pids)

  /** @returns the decisions of all processes, and their cost */
  const phase = async (order) => {
    const before = { cpu: cpuMicros(pids), calls: await scriptCalls(admin) }
    const results = await Promise.all(fleet.map((each) => ask(each, order, 'checked')))
    const checks = results.reduce((sum, each) => sum + each.checks, 0)
    const cpu = (cpuMicros(pids) - before.cpu) / checks
    return { results, cpu, calls: ((await scriptCalls(admin)) - before.calls) / checks }
  }
  // The cost of the loops is not part of the limit.
  const idlePaced = await phase({ type: 'pace', idle: true, perSecond: PER_SECOND, seconds: 1 })
  const idleHammered = await phase({ type: 'hammer', idle: true, seconds: 0.5 })
  const paced = await phase({ type: 'pace', perSecond: PER_SECOND, seconds })
  const hammeredFrom = Date.now()
  const hammered = await phase({ type: 'hammer', seconds })
  admin.disconnect()
  await stop(...fleet, child)

  const perUser = Array.from({ length: users }, (_, user) =>
    [...paced.results, ...hammered.results].flatMap(({ admissions }) => admissions[user]).sort((a, b) => a - b),
  )
  const tookMicros = paced.results.flatMap((each) => each.tookMicros)
  return {
    ...(kit && held(perUser, windowMs, hammeredFrom)),
    calls: hammered.calls,
    cpu: hammered.cpu - idleHammered.cpu,
    pacedCalls: paced.calls,
    pacedCpu: paced.cpu - idlePaced.cpu,
    p50: quantile(tookMicros, 0.5),
    p99: quantile(tookMicros, 0.99),
  }
}

async function scriptCalls(client) {
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0)
}

/** The maximum that a user was admitted, and the share of its points that a user above the limit did not get. */
function held(perUser, windowMs, hammeredFrom) {
  return windowMs === undefined ? heldByBuckets(perUser) : heldByWindows(perUser, windowMs, hammeredFrom)
}

function heldByWindows(perUser, windowMs, hammeredFrom) {
  const all = perUser.map((times) => countBy(times, (at) => Math.floor(at / windowMs)))
  // The window with the most requests.
  const end = Date.now()
  const hammeredMs = (window) => Math.min(end, (window + 1) * windowMs) - Math.max(hammeredFrom, window * windowMs)
  const [longest] = [...new Set(all.flatMap((windows) => [...windows.keys()]))].sort(
    (a, b) => hammeredMs(b) - hammeredMs(a),
  )
  const admitted = all.reduce((sum, windows) => sum + (windows.get(longest) ?? 0), 0)
  return {
    most: Math.max(...all.flatMap((windows) => [...windows.values()])),
    under: 100 * (1 - admitted / (perUser.length * POINTS)),
  }
}

function heldByBuckets(perUser) {
  let most = 0
  let admitted = 0
  let due = 0
  for (const times of perUser) {
    let level = 0
    let before = times[0]
    for (const at of times) {
      level = Math.max(0, level - (at - before) * REFILL_PER_MS) + 1
      before = at
      most = Math.max(most, level)
    }
    admitted += times.length
    due += POINTS + (times.at(-1) - times[0]) * REFILL_PER_MS
  }
  return { most, under: 100 * (1 - admitted / due) }
}

function countBy(values, keyOf) {
  const counts = new Map()
  for (const value of values) counts.set(keyOf(value), (counts.get(keyOf(value)) ?? 0) + 1)
  return counts
}
