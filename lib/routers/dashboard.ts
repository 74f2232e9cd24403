/**
 * request ─► `req.auth` ─► **dashboard** ─► cached body, else `load`: what a dashboard needs to start, in one request
 * instead of a poll. Owns the HTTP side and the loads under way; the cache is in dashboard-cache.ts.
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
import { givenRedis, type RedisSource } from '../redis/source.js'
import { boundedStore } from '../store/bounded.js'
import { createStore } from '../store/create.js'
import type { KeyValueStore } from '../store/store.js'
import { DashboardCache, type Owner } from './dashboard-cache.js'

/** What a dashboard needs to start. Goes out as JSON. */
export interface DashboardData {
  /** The signed-in user, in the form that the page expects. */
  readonly profile: unknown
  /** The user's tenant. */
  readonly tenant: unknown
  /** What is switched on for the user. */
  readonly features: unknown
  /** Channels or accounts that the page shows. */
  readonly channels: unknown
}

/** Options of `dashboardInit`. */
export interface DashboardOptions {
  /**
   * Loads the data of one user. Must depend on user and tenant alone, for its result answers all requests of that user
   * in that tenant within `ttlMs`. If it throws or rejects, the error goes to Express and nothing is kept; it may throw
   * `forbidden()`.
   */
  readonly load: (auth: Auth, req: Request) => DashboardData | Promise<DashboardData>
  /**
   * How long a `load` may take, in ms, at most ten minutes. After that all requests that wait for it fail with 503
   * `ERR_SSE_CALLBACK_TIMEOUT`, which goes to Express, its outcome is ignored, and the next request loads again. 0: no bound.
   * @defaultValue 10_000
   */
  readonly loadTimeoutMs?: number
  /** Where the processes of a fleet share the cache and its invalidations. Left out or empty: each process has its own. */
  readonly redis?: RedisSource | undefined
  /** A store to use instead of one of the router's own; it is not closed by the router. Its operations have 10 s. */
  readonly store?: KeyValueStore
  /** How long loaded data may be given out, in ms, at most a day. 0: every request loads. @defaultValue 30_000 */
  readonly ttlMs?: number
  /**
   * Names the cache in the store: its keys begin with `dashboard:<prefix>:`. Routers with the same prefix and store share their
   * entries, so those with different `load` need different ones. @defaultValue 'dashboard'
   */
  readonly prefix?: string
  /** The clock of a store in this process, and of time-outs. @defaultValue the process's clock */
  readonly clock?: Clock
}

/** The router that `dashboardInit` returns. */
export type DashboardRouter = Router & {
  /**
   * No request that comes after this, to any process, gets data of the user, or of the whole tenant, whose load began
   * before.
   * @throws BrokerError where the store does not answer; the data may then be given out until `ttlMs` is over
   */
  invalidate(owner: {
    /** The tenant: all of its users, unless `user` is given. */
    readonly tenant: string
    /** One user of the tenant. */
    readonly user?: string
  }): Promise<void>
  /** Closes the store, unless it was given. Idempotent. */
  close(): Promise<void>
}

interface Answer {
  readonly body: string
  readonly cached: boolean
}

/**
 * `GET /init`. Needs `authenticate()` before it.
 * @throws InvalidOptionError
 */
export function dashboardInit(options: DashboardOptions): DashboardRouter {
  const { load, ttlMs = 30_000, prefix = 'dashboard', clock = systemClock } = options
  const redis = givenRedis(options.redis)
  if (typeof load !== 'function') throw new InvalidOptionError('load must be a function')
  if (typeof prefix !== 'string' || prefix === '') throw new InvalidOptionError('prefix must be a non-empty string')
  wholeNumber('ttlMs', ttlMs, 0, 86_400_000)
  const timeoutMs = wholeNumber('loadTimeoutMs', options.loadTimeoutMs ?? CALLBACK_TIMEOUT_MS, 0, 600_000)
  if (redis !== undefined && options.store !== undefined) {
    throw new InvalidOptionError('dashboardInit() takes either redis or store')
  }
  const store = options.store === undefined ? createStore({ redis, clock }) : boundedStore(options.store, clock)
  const cache = new DashboardCache(store, prefix, ttlMs)
  const answers = new Coalescer<Answer>()

  /** One load at a time for one owner and one state of its stamps: a load begun before an invalidation has others. */
  const answer = async (auth: Auth, req: Request): Promise<Answer> => {
    const loadBody = async (): Promise<string> =>
      toBody(await settle('load', () => load(auth, req), { clock, timeoutMs }))
    if (ttlMs === 0) return { body: await loadBody(), cached: false }
    const found = await cache.find(auth)
    if (found.body !== undefined) return { body: found.body, cached: true }
    return answers.run(found.key, async () => {
      const body = await loadBody()
      await found.keep(body)
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
        // For this user's browser alone, which has to ask each time, and is told 304 where nothing is new.
        res.set({ 'Cache-Control': 'private, no-cache', 'X-Cache': cached ? 'hit' : 'miss' })
        res.type('json').send(body)
      }
    }),
  )

  const invalidate = async (owner: Owner): Promise<void> => {
    // Requests that come from now on must not join loads under way, not even where the stamps cannot be read.
    answers.forget()
    if (ttlMs !== 0) await cache.invalidate(owner)
  }
  const close = async (): Promise<void> => {
    if (options.store === undefined) await store.close()
  }
  return Object.assign(router, { invalidate, close })
}

/** One run at a time for one key; whoever comes meanwhile shares its outcome. */
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

  /** What runs goes on for those who wait for it; no one else joins. */
  forget(): void {
    this.#running.clear()
  }
}

function toBody(data: DashboardData): string {
  const body: string | undefined = JSON.stringify(data)
  if (data === null || typeof data !== 'object' || body === undefined) throw new TypeError('load must give an object')
  return body
}
