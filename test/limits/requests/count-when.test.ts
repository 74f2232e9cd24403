import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { get, type RequestListener } from 'node:http'
import { connect } from 'node:net'
import { expect } from 'chai'
import express, { type Response } from 'express'
import type { Redis } from 'ioredis'
import type { RateLimitOptions } from '../../../lib/limits/requests/options.js'
import { type RateLimitHandler, rateLimit } from '../../../lib/routers/rate-limit.js'
import { eventually } from '../../helpers/eventually.js'
import { serve } from '../../helpers/http-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import { startSuiteRedis } from '../../helpers/suite-redis.js'

/** 24 days: no window ends during a test. */
const LONG = 2_073_600
const POINTS = 3

const KINDS = {
  'in this process': { processes: 1 },
  'in this process, token bucket': { processes: 1, algorithm: 'token-bucket' },
  'on leases': { processes: 2, redis: true },
  'on leases, token bucket': { processes: 2, redis: true, algorithm: 'token-bucket' },
  exact: { processes: 2, redis: true, mode: 'exact' },
} as const

describe('request limits that count only some answers', () => {
  let redis: RedisServer
  let admin: Redis
  const undo: (() => Promise<unknown> | unknown)[] = []

  startSuiteRedis((started) => {
    ;({ server: redis, admin } = started)
  })

  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step()
    await admin.flushall()
  })

  /**
   * One app for each process, with a limit on failures. Routes: /ok, /wrong, and /slow, which is held until it is
   * released.
   */
  class Site {
    readonly urls: string[] = []
    readonly limiters: RateLimitHandler[] = []
    readonly #held: Response[] = []

    async start(kind: (typeof KINDS)[keyof typeof KINDS], more: Partial<RateLimitOptions> = {}): Promise<this> {
      const { processes, redis: shared, ...rest } = { redis: false, ...kind }
      for (let i = 0; i < processes; i++) {
        const limiter = rateLimit({
          by: 'ip',
          points: POINTS,
          duration: LONG,
          countWhen: ({ statusCode }) => statusCode === 401,
          timeoutMs: 10_000,
          ...rest,
          ...(shared && { redis: redis.url }),
          ...more,
        } as RateLimitOptions)
        this.limiters.push(limiter)
        const app = express()
        app.use(limiter)
        app.get('/ok', (_req, res) => void res.json({}))
        app.get('/wrong', (_req, res) => void res.status(401).json({}))
        app.get('/slow', (_req, res) => void this.#held.push(res))
        app.get('/begun', (_req, res) => {
          res.status(200).write('some')
          this.#held.push(res)
        })
        const server = await serve(app as RequestListener)
        undo.push(
          () => server.stop(),
          () => limiter.close(),
        )
        this.urls.push(server.url)
      }
      return this
    }

    get held(): number {
      return this.#held.length
    }

    url(path: string, i = 0): string {
      return `${this.urls[i % this.urls.length]}${path}`
    }

    async status(path: string, i = 0): Promise<number> {
      const response = await fetch(this.url(path, i))
      await response.arrayBuffer()
      return response.status
    }

    /** Retries until the status is final: a 429 with a short Retry-After is not. */
    async settled(path: string, i = 0): Promise<number> {
      let status = 0
      await eventually(async () => {
        const response = await fetch(this.url(path, i))
        await response.arrayBuffer()
        status = response.status
        return status !== 429 || Number(response.headers.get('Retry-After')) > 10
      })
      return status
    }

    /** Sends requests, and disconnects before the answer, when each has arrived or was refused. */
    async hangUp(path: string, count: number): Promise<void> {
      for (let i = 0; i < count; i++) {
        const before = this.held
        const request = get(this.url(path, i))
        request.on('error', () => undefined)
        const closed = new Promise((resolve) => request.once('close', resolve))
        const answered = new Promise((resolve) => request.once('response', resolve))
        await Promise.race([eventually(() => this.held > before), answered])
        request.destroy()
        await closed
      }
    }

    release(status: number): void {
      for (const res of this.#held.splice(0)) res.headersSent ? res.end() : res.status(status).json({})
    }
  }

  for (const [name, kind] of Object.entries(KINDS)) {
    it(`count a request whose client disconnects before its answer: ${name}`, async () => {
      const site = await new Site().start(kind)
      await site.hangUp('/slow', 20)
      expect(site.held).to.equal(POINTS)
      // An answer that no client received changes nothing.
      site.release(200)
      for (let i = 0; i < 4; i++) expect(await site.status('/ok', i)).to.equal(429)
    })

    it(`admit at most as many concurrent requests as there are points: ${name}`, async () => {
      const site = await new Site().start(kind)
      const answers = Array.from({ length: 20 }, (_, i) => site.status('/slow', i))
      const refused = answers.map((each) => each.then((status) => status === 429))
      await eventually(async () => {
        const pending = Symbol('pending')
        const now = await Promise.all(refused.map((each) => Promise.race([each, Promise.resolve(pending)])))
        return now.filter((each) => each === true).length === 20 - POINTS && site.held === POINTS
      })
      site.release(401)
      const statuses = await Promise.all(answers)
      expect(statuses.filter((status) => status === 401)).to.have.length(POINTS)
      expect(await site.settled('/ok', 1)).to.equal(429)
    })

    it(`return the points of requests that do not count, and of no others: ${name}`, async () => {
      const site = await new Site().start(kind)
      for (let i = 0; i < 40; i++) expect(await site.settled('/ok', i), `request ${i}`).to.equal(200)
      const statuses: number[] = []
      for (let i = 0; i < 8; i++) {
        statuses.push(await site.settled('/wrong', i))
        if (statuses.filter((status) => status === 401).length < POINTS)
          expect(await site.settled('/ok', i)).to.equal(200)
      }
      expect(statuses.filter((status) => status === 401)).to.have.length(POINTS)
      expect(statuses.slice(POINTS)).to.deep.equal([429, 429, 429, 429, 429])
    })

    it(`admit further requests as soon as requests in flight turn out not to count: ${name}`, async () => {
      const site = await new Site().start(kind)
      const answers = Array.from({ length: POINTS }, (_, i) => site.status('/slow', i))
      await eventually(() => site.held === POINTS)
      expect(await site.status('/ok', 1)).to.equal(429)
      site.release(200)
      expect(await Promise.all(answers)).to.deep.equal([200, 200, 200])
      await eventually(async () => (await site.status('/ok', 1)) === 200)
    })
  }

  it('decide by the status and headers if a client disconnects during its answer', async () => {
    const site = await new Site().start(KINDS['in this process'])
    await site.hangUp('/begun', 10)
    expect(await site.settled('/ok')).to.equal(200)
  })

  it('count requests that were pipelined behind another one on a lost connection', async () => {
    const site = await new Site().start(KINDS['in this process'])
    const { port } = new URL(site.url('/'))
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(POINTS))
    await eventually(() => site.held === POINTS)
    socket.destroy()
    expect(await site.status('/ok')).to.equal(429)
  })

  it('count a request if countWhen throws, and report the error', async () => {
    const errors: unknown[] = []
    const listener = (message: unknown): void => void errors.push((message as { error: unknown }).error)
    subscribe('express-sse-kit:limiter:error', listener)
    undo.push(() => unsubscribe('express-sse-kit:limiter:error', listener))
    const error = new Error('of the application')
    const countWhen = (): boolean => {
      throw error
    }
    const site = await new Site().start(KINDS['in this process'], { countWhen })
    for (let i = 0; i < POINTS; i++) expect(await site.status('/ok')).to.equal(200)
    await eventually(async () => (await site.status('/ok')) === 429)
    expect(errors).to.deep.equal(Array(POINTS).fill(error))
  })

  it('take from several limits or none, and count each by its own rule', async () => {
    const limits = [
      { by: 'ip', name: 'wrong', points: 2, duration: LONG, countWhen: (res: Response) => res.statusCode === 401 },
      { by: 'ip', name: 'all', points: 6, duration: LONG },
    ] as const
    const site = await new Site().start(KINDS['in this process'], { by: undefined, limits } as never)
    const statuses: number[] = []
    for (const path of ['/ok', '/ok', '/wrong', '/ok', '/wrong', '/ok', '/ok']) statuses.push(await site.status(path))
    expect(statuses).to.deep.equal([200, 200, 401, 200, 401, 429, 429])
  })

  it('return points only within their window', async () => {
    for (const mode of ['hybrid', 'exact'] as const) {
      const site = await new Site().start({ ...KINDS['on leases'], mode } as never, { duration: 1, name: mode })
      const answers: Promise<number>[] = []
      for (let i = 0; i < POINTS; i++) answers.push(site.status('/slow'))
      await eventually(() => site.held === POINTS)
      await new Promise((resolve) => setTimeout(resolve, 1100))
      const admitted: number[] = []
      // Points that were reserved in the old window are neither missing in the new one nor added to it.
      for (let i = 0; i < POINTS; i++) admitted.push(await site.status('/wrong'))
      site.release(200)
      await Promise.all(answers)
      const counters = await admin.keys('*')
      for (const key of counters) {
        if ((await admin.type(key)) === 'string') expect(Number(await admin.get(key)), key).to.be.at.least(0)
      }
      expect(admitted.filter((status) => status === 401).length).to.be.at.least(1)
    }
  })

  it('keep their count if they are closed with requests in flight', async () => {
    const site = await new Site().start(KINDS['on leases'])
    const answers: Promise<number>[] = [site.status('/slow'), site.status('/slow')]
    await eventually(() => site.held === 2)
    await site.limiters[0]?.close()
    site.release(200)
    await Promise.all(answers)
    expect(await site.settled('/wrong', 1)).to.equal(401)
    expect(await site.settled('/wrong', 1)).to.equal(429)
  })
})
