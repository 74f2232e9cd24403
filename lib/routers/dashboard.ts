/**
 * request ─► `req.auth` ─► **dashboard** ─► cached body, or else `load`: the start data of a dashboard in one request.
 * Owns the HTTP side and the loads under way. The cache is in dashboard-cache.ts.
 */
import express, { type Request, type Router } from 'express'
import { tokenMissing } from '../auth/refusals.js'
import type { Auth } from '../core/auth.js'
import { CALLBACK_TIMEOUT_MS, settle } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { AppFailure, answering } from '../http/answering.js'
import { authOf } from '../http/auth-of.js'
import { Exchange } from '../http/exchange.js'
import type { RedisSource } from '../redis/source.js'
import { storeOption } from '../store/create.js'
import type { KeyValueStore } from '../store/store.js'
import { DashboardCache, type Owner } from './dashboard-cache.js'

/** The start data of a dashboard. It is sent as JSON. */
export interface DashboardData {
  /** The signed-in user, in the form that the page expects. */
  readonly profile: unknown
  /** The tenant of the user, in the form that the page expects. */
  readonly tenant: unknown
  /** The features that are enabled for the user. */
  readonly features: unknown
  /** The channels or accounts that the page shows. */
  readonly channels: unknown
}

/** Options of `dashboardInit`. */
export interface DashboardOptions {
  /**
   * Loads the data of one user. The result must depend on user and tenant only, because it answers all requests of that
   * user in that tenant for `ttlMs`. If `load` throws or rejects, the error is passed to Express and nothing is cached.
   * It may throw `forbidden()`.
   */
  readonly load: (auth: Auth, req: Request) => DashboardData | Promise<DashboardData>
  /**
   * How long a `load` may take, in ms, at most 600,000 (ten minutes). After that the requests that wait for it fail
   * with 503 `ERR_SSE_CALLBACK_TIMEOUT`, which is passed to Express. A later result is ignored, and the next request
   * loads again. 0: no limit.
   * @defaultValue 10_000
   */
  readonly loadTimeoutMs?: number
  /**
   * The Redis on which processes share the cache and its invalidations. Absent or empty: one cache for each process.
   */
  readonly redis?: RedisSource | undefined
  /**
   * A store to use instead of `redis`. The router does not close it. An operation that takes longer than 10 s counts as
   * failed.
   */
  readonly store?: KeyValueStore
  /** How long loaded data is served, in ms, at most 86,400,000 (a day). 0: every request loads. @defaultValue 30_000 */
  readonly ttlMs?: number
  /**
   * The name of the cache in the store: its keys begin with `dashboard:<prefix>:`. Routers with the same prefix and
   * store share their entries. Routers with a different `load` therefore need different prefixes.
   * @defaultValue 'dashboard'
   */
  readonly prefix?: string
  /** The clock of time-outs and of a store in this process, for tests. @defaultValue the system clock */
  readonly clock?: Clock
}

/** The router that `dashboardInit` returns. */
export type DashboardRouter = Router & {
  /**
   * Invalidates the data of one user or of all users of a tenant. A request that arrives afterwards, at any process,
   * does not get data whose load began before.
   * @throws BrokerError if the store fails or does not answer. The old data may then be served until `ttlMs` is over.
   */
  invalidate(owner: {
    /** The tenant. Without `user` all of its users are meant. */
    readonly tenant: string
    /** One user of the tenant. */
    readonly user?: string
  }): Promise<void>
  /** Closes the store, unless the application gave it as `store`. Idempotent. */
  close(): Promise<void>
}

interface Answer {
  readonly body: string
  readonly cached: boolean
}

/**
 * Creates a router with `GET /init`, which answers with the data of the caller. It needs `authenticate()` before it.
 * @throws InvalidOptionError if an option is missing or out of range, or if both `redis` and `store` are given
 */
export function dashboardInit(options: DashboardOptions): DashboardRouter {
  const { load, ttlMs = 30_000, prefix = 'dashboard', clock = systemClock } = options
  if (typeof load !== 'function')
    throw new InvalidOptionError('dashboardInit() needs the option load, a function (auth, req) => data')
  if (typeof prefix !== 'string' || prefix === '') throw new InvalidOptionError('prefix must be a non-empty string')
  wholeNumber('ttlMs', ttlMs, 0, 86_400_000)
  const timeoutMs = wholeNumber('loadTimeoutMs', options.loadTimeoutMs ?? CALLBACK_TIMEOUT_MS, 0, 600_000)
  const store = storeOption('dashboardInit', options, clock)
  const cache = new DashboardCache(store, prefix, ttlMs)
  const answers = new Coalescer<Answer>()

  /** Concurrent requests of one owner share one load. A load that began before an invalidation has another key. */
  const answer = async (auth: Auth, req: Request): Promise<Answer> => {
    const loadBody = async (): Promise<string> =>
      toBody(await settle('load', () => load(auth, req), { clock, timeoutMs }))
    if (ttlMs === 0) return { body: await loadBody(), cached: false }
    const found = await cache.find(auth)
    if (found.body !== undefined) return { body: found.body, cached: true }
    return answers.run(found.key, async () => {
      const body = await loadBody()
      await found.store(body)
      return { body, cached: false }
    })
  }

  const router = express.Router()
  router.get(
    '/init',
    answering(async (req, res) => {
      await new Exchange(req, res).turn()
      const auth = authOf(req)
      if (auth === undefined) throw tokenMissing()
      const { body, cached } = await answer(auth, req).catch((error: unknown) => {
        throw new AppFailure('load', error)
      })
      return (res) => {
        // Only the browser of this user may keep it, and must revalidate: it gets 304 if nothing has changed.
        res.set({ 'Cache-Control': 'private, no-cache', 'X-Cache': cached ? 'hit' : 'miss' })
        res.type('json').send(body)
      }
    }),
  )

  const invalidate = async (owner: Owner): Promise<void> => {
    // Later requests must not join loads under way, not even if the stamps cannot be read.
    answers.forgetRunning()
    if (ttlMs !== 0) await cache.invalidate(owner)
  }
  const close = async (): Promise<void> => {
    if (options.store === undefined) await store.close()
  }
  return Object.assign(router, { invalidate, close })
}

/** Runs at most one call for each key at a time. Callers that arrive in the meantime share its result. */
class Coalescer<T> {
  readonly #running = new Map<string, Promise<T>>()

  run(key: string, start: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key)
    if (running !== undefined) return running
    const started = start().finally(() => {
      if (this.#running.get(key) === started) this.#running.delete(key)
    })
    this.#running.set(key, started)
    return started
  }

  /** Callers that wait already still get their result. Later callers start a new run. */
  forgetRunning(): void {
    this.#running.clear()
  }
}

function toBody(data: DashboardData): string {
  const body: string | undefined = JSON.stringify(data)
  if (data === null || typeof data !== 'object' || body === undefined)
    throw new TypeError('load must return an object that JSON can represent')
  return body
}
