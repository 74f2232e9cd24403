/**
 * Damaged values of what the kit keeps in Redis beside its logs: limits, leases of streams, revocations, tickets, the
 * dashboard's cache. The keys of one user are damaged. That user is admitted or refused with a code; another user's
 * limits still count in Redis.
 */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type Express } from 'express'
import { Redis } from 'ioredis'
import { diagnostics } from '../../lib/core/diagnostics.js'
import {
  authenticate,
  createMultiplexer,
  createPressure,
  createRevocations,
  createStore,
  createStreamLimits,
  dashboardInit,
  rateLimit,
  SseError,
  sseErrors,
  tickets,
} from '../../lib/index.js'
import { eventually } from '../helpers/eventually.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'
import type { Random } from '../proof/random.js'
import { type Area, type Findings, inParallel } from './area.js'
import { hostileText } from './hostile-text.js'

const WIDTH = 4
const NUMBERS = [
  '',
  'x',
  '-1',
  '0',
  '1.5',
  '1e300',
  'inf',
  '-inf',
  'nan',
  '9'.repeat(40),
  '1 2 3',
  '9 9 9 9',
  '1 2 3 99999999999999',
]
const LIMITS = ['window', 'bucket', 'exact']
/** 401: the session counts as revoked. 429: limits that count nonsense. */
const ALLOWED = [200, 401, 429, 503]
const CODES_503 = /^ERR_SSE_(?:BROKER_\w+|LIMITER_UNAVAILABLE)$/

class StateSite {
  readonly #parts: { close(): unknown }[] = []
  readonly #multiplexer
  readonly #server: Server

  constructor(redis: string, findings: Findings) {
    const part = <T extends { close(): unknown }>(made: T): T => {
      this.#parts.push(made)
      return made
    }
    const store = part(createStore({ redis }))
    const revocations = createRevocations({ store, cacheMs: 0 })
    const limits = part(createStreamLimits({ redis, perUser: 5, perTenant: 1e6, leaseMs: 1000, opensPerMinute: 1000 }))
    this.#multiplexer = createMultiplexer({
      redis,
      lingerMs: 0,
      streamLimits: limits,
      stream: { revocations, pressure: createPressure({ maxLoopDelayMs: 0 }) },
    })
    const session = (user = '') => ({ user, tenant: 'acme', id: `session-${user}`, issuedAt: 1000 })
    const app: Express = express()
    app.use(authenticate({ resolve: (req) => session(req.get('x-user')), revocations, tickets: store }))
    const common = { by: 'user', points: 1e6, duration: 3600, redis, timeoutMs: 20_000 } as const
    const handlers = {
      window: part(rateLimit({ ...common, name: 'window' })),
      bucket: part(rateLimit({ ...common, name: 'bucket', algorithm: 'token-bucket' })),
      exact: part(rateLimit({ ...common, name: 'exact', mode: 'exact' })),
    }
    for (const [name, limit] of Object.entries(handlers)) app.get(`/${name}`, limit, (_, res) => void res.end('ok'))
    app.use('/tickets', tickets({ store }))
    const load = ({ user }: { user: string }) => ({ profile: user, tenant: '', features: {}, channels: [] })
    app.use('/dashboard', part(dashboardInit({ redis, load })))
    app.get(
      '/stream',
      this.#multiplexer.stream(() => 'log'),
    )
    app.use(
      sseErrors({
        onError: (error) => {
          if (!(error instanceof SseError && error.status === 503)) findings.violate(`an error: ${String(error)}`)
        },
      }),
    )
    this.#server = createServer(app)
  }

  async listen(): Promise<string> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get streams(): number {
    return this.#multiplexer.status().streams
  }

  async stop(): Promise<void> {
    await this.#multiplexer.close()
    this.#server.close()
    this.#server.closeAllConnections()
    for (const part of this.#parts.reverse()) await part.close()
  }
}

/** Overwrites a key, or a part of it. */
async function damage(admin: Redis, key: string, random: Random): Promise<void> {
  const type = await admin.type(key)
  const value = random.chance(0.7) ? random.pick(NUMBERS) : hostileText(random)
  if (random.chance(0.3)) {
    await admin.del(key)
    if (type === 'string') await admin.lpush(key, value)
    else await admin.set(key, value)
  } else if (type === 'hash') {
    const fields = await admin.hkeys(key)
    await admin.hset(key, random.chance(0.8) && fields.length > 0 ? random.pick(fields) : hostileText(random), value)
  } else if (type === 'zset') {
    await admin.zadd(key, random.pick([0, -1, 1e300, '+inf', Date.now() + 1e6]), random.chance(0.5) ? value : '1:x')
  } else if (type === 'string') await admin.set(key, value)
}

/** Also those of the other cases, which may use them meanwhile. */
async function damageTickets(admin: Redis, random: Random): Promise<void> {
  for (const key of await admin.keys('sse:ticket:*')) {
    const text = random.pick(['', 'x', 'null', '1', '[]', '{}', '"x"', '{"expiresAt":1e999}', hostileText(random)])
    await admin.set(key, text, 'PX', 60_000)
  }
}

async function request(url: string, path: string, user: string, findings: Findings): Promise<string> {
  const method = path === '/tickets' ? 'POST' : 'GET'
  const body = method === 'POST' ? { body: JSON.stringify({ path: '/window' }) } : {}
  const response = await fetch(url + path, { method, headers: { 'x-user': user }, ...body })
  const text = await response.text()
  findings.count(response.status)
  const right = response.status === 503 ? CODES_503.test(JSON.parse(text).code) : ALLOWED.includes(response.status)
  if (!right) findings.violate(`${path}: ${response.status} ${text.slice(0, 200)}`)
  return text
}

async function stream(url: string, user: string, findings: Findings): Promise<SseClient> {
  const client = await SseClient.open(`${url}/stream`, { 'x-user': user })
  findings.count(client.status)
  if (!ALLOWED.includes(client.status)) findings.violate(`stream: ${client.status}`)
  if (client.status === 200) await client.until(({ events }) => events.length > 0)
  return client
}

/** The limits of a user whose keys are right must never count without Redis. */
function watchLimits(findings: Findings): () => void {
  const onDecision = (message: unknown): void => {
    const { source } = message as { source: string }
    if (source.startsWith('fail')) findings.count(source)
  }
  const onStore = (message: unknown): void => {
    const { operation, error } = message as { operation: string; error: Error }
    if (operation === 'lease streams') findings.violate(`the leases of all are without Redis: ${error.message}`)
  }
  diagnostics.limiterDecision.subscribe(onDecision)
  diagnostics.storeError.subscribe(onStore)
  return () => {
    diagnostics.limiterDecision.unsubscribe(onDecision)
    diagnostics.storeError.unsubscribe(onStore)
  }
}

interface Attack {
  readonly url: string
  readonly admin: Redis
  readonly random: Random
  readonly findings: Findings
}

/** @param done gets the damaged keys */
async function oneUser({ url, admin, random, findings }: Attack, number: number, done: string[]): Promise<void> {
  const user = `user${number}x`
  const paths = ['/tickets', '/dashboard/init', ...LIMITS.map((name) => `/${name}`)]
  const { ticket } = JSON.parse(await request(url, '/tickets', user, findings)) as { ticket: string }
  for (const path of paths) await request(url, path, user, findings)
  await admin.set(`sse:revoked:user:acme:${user}`, '1', 'PX', 60_000)
  const open = await stream(url, user, findings)
  for (const key of await admin.keys(`*${user}*`)) {
    if (random.chance(0.5)) continue
    done.push(key)
    await damage(admin, key, random)
  }
  if (random.chance(0.3)) await damageTickets(admin, random)
  for (let i = random.below(5); i > 0; i--) await request(url, random.pick(paths), user, findings)
  await request(url, `/window?ticket=${ticket}`, user, findings)
  if (random.chance(0.5)) (await stream(url, user, findings)).close()
  open.close()
  const other = await stream(url, `other${number}y`, findings)
  if (other.status !== 200) findings.violate(`another user: ${other.status}`)
  other.close()
  const keys = await admin.keys(`*${user}*`)
  if (keys.length > 0) await admin.del(keys)
}

export const redisState: Area = {
  name: 'redis-state',
  about: 'damaged limits, leases, revocations, tickets and caches in Redis',
  async run(cases, random, findings) {
    const server = await RedisServer.start()
    const admin = new Redis(server.url)
    const site = new StateSite(server.url, findings)
    const url = await site.listen()
    const stopWatching = watchLimits(findings)
    try {
      await inParallel(cases, WIDTH, async (number) => {
        const done: string[] = []
        await findings.case(
          () => `case ${number} (${done.join(', ')})`,
          () => oneUser({ url, admin, random, findings }, number, done),
        )
      })
      await eventually(() => site.streams === 0, 20_000).catch(() => findings.violate(`holds ${site.streams} streams`))
    } finally {
      stopWatching()
      await site.stop()
      admin.disconnect()
      await server.stop()
    }
  },
}
