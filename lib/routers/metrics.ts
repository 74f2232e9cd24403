/** register ─► **metrics** ─► the page that Prometheus reads. */
import express, { type Router } from 'express'
import { CALLBACK_TIMEOUT_MS, settle } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { AppFailure, answering } from '../http/answering.js'
import type { MetricsRegister } from '../observe/register.js'

/** Options of `metrics`. */
export interface MetricsRouterOptions {
  /** The register to serve: that of `createMetrics()`, or any registry of prom-client. */
  readonly register: Pick<MetricsRegister, 'contentType' | 'metrics'>
  /** The clock of the time-out, for tests. @defaultValue the system clock */
  readonly clock?: Clock
}

/**
 * Creates a router with `GET /`, which answers with all metrics of the register: `app.use('/metrics',
 * metrics(createMetrics({ multiplexer })))`. The application decides who may read the page. It contains no names of
 * users or channels. An error of the register is passed to Express, and so is a 503 if the register takes longer than
 * 10 s.
 * @throws InvalidOptionError if `register` is missing
 */
export function metrics({ register, clock = systemClock }: MetricsRouterOptions): Router {
  if (typeof register?.metrics !== 'function')
    throw new InvalidOptionError(
      'metrics() needs the option register, that of createMetrics() or a registry of prom-client',
    )
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
