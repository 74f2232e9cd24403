/** register ─► **metrics** ─► Prometheus: the page that it reads. */
import express, { type Router } from 'express'
import { CALLBACK_TIMEOUT_MS, settle } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { AppFailure, answering } from '../http/answering.js'
import type { MetricsRegister } from '../observe/register.js'

/** Options of `metrics`. */
export interface MetricsRouterOptions {
  /** What is served: `createMetrics().register`, or any registry of prom-client. */
  readonly register: Pick<MetricsRegister, 'contentType' | 'metrics'>
  /** For tests. @defaultValue the process's clock */
  readonly clock?: Clock
}

/**
 * `GET /` answers with all that is in the register: `app.use('/metrics', metrics(createMetrics({ multiplexer })))`. Whoever may
 * read it is for the application to say; it holds no names of users or channels. An error of the register goes to Express, and so
 * does a 503 if it takes longer than 10 s.
 * @throws InvalidOptionError
 */
export function metrics({ register, clock = systemClock }: MetricsRouterOptions): Router {
  if (typeof register?.metrics !== 'function') throw new InvalidOptionError('metrics() needs a register')
  const bounds = { clock, timeoutMs: CALLBACK_TIMEOUT_MS }
  const router = express.Router()
  router.get(
    '/',
    answering(async () => {
      const text = await settle('register.metrics', () => register.metrics(), bounds).catch((error: unknown) => {
        throw new AppFailure('register.metrics', error)
      })
      return (res) => {
        res.set({ 'Content-Type': register.contentType, 'Cache-Control': 'no-store' })
        res.end(text)
      }
    }),
  )
  return router
}
