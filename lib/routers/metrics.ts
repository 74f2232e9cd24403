/** register ─► **metrics** ─► Prometheus: the page that it reads. */
import express, { type Router } from 'express'
import { InvalidOptionError } from '../core/errors.js'
import type { MetricsRegister } from '../observe/register.js'

export interface MetricsRouterOptions {
  /** What is served: `createMetrics().register`, or any registry of prom-client. */
  readonly register: Pick<MetricsRegister, 'contentType' | 'metrics'>
}

/**
 * `GET /` answers with all that is in the register: `app.use('/metrics', metrics(createMetrics({ multiplexer })))`. Whoever may
 * read it is for the application to say; it holds no names of users or channels.
 * @throws InvalidOptionError
 */
export function metrics({ register }: MetricsRouterOptions): Router {
  if (typeof register?.metrics !== 'function') throw new InvalidOptionError('metrics() needs a register')
  const router = express.Router()
  // Not `async`, for Express 4.
  router.get('/', (_req, res, next) => {
    register.metrics().then((text) => {
      res.set({ 'Content-Type': register.contentType, 'Cache-Control': 'no-store' })
      res.end(text)
    }, next)
  })
  return router
}
