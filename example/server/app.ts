/**
 * The example's HTTP surface, in the order in which a request meets it:
 *
 *   webhooks (raw bytes) ─► authentication ─► sign-in, workbench ─► limits ─► dashboard, inbox, streams
 *     ─► pages ─► errors
 *
 * Health and metrics are internal: a separate application on a separate port.
 */
import { fileURLToPath } from 'node:url'
import express, { type Express, type Router } from 'express'
import {
  authenticate,
  conversationStreams,
  type KeyValueStore,
  type Metrics,
  type Multiplexer,
  metrics,
  type Revocations,
  requireAuth,
  sseErrors,
  tickets,
  webhooks,
} from 'express-sse-kit'
import type { Traffic } from './compare/traffic.js'
import type { Config } from './config.js'
import { receiveMessage } from './inbound.js'
import type { Limits } from './limits.js'
import type { LogLine } from './log.js'
import { Problem, problems } from './problem.js'
import { authRoutes } from './routes/auth.js'
import { compareRoutes } from './routes/compare.js'
import { conversationRoutes } from './routes/conversations.js'
import { dashboardRoutes } from './routes/dashboard.js'
import { healthRoutes } from './routes/health.js'
import { pageRoutes, securityHeaders } from './routes/page.js'
import { workbenchRoutes } from './routes/workbench.js'
import type { InboxStore } from './store/inbox-store.js'
import type { Workbench } from './workbench/workbench.js'

export interface AppOptions {
  readonly config: Config
  readonly multiplexer: Multiplexer
  readonly store: InboxStore
  /** The store of the kit's cache, de-duplication, tickets and revocations. */
  readonly keyValues: KeyValueStore
  readonly revocations: Revocations
  readonly limits: Limits
  readonly metrics: Metrics
  readonly workbench: Workbench
  readonly traffic: Traffic
  readonly log: LogLine
}

const PAGE_FOLDER = fileURLToPath(new URL('../web/dist', import.meta.url))

/** The endpoints that must not be reachable from outside: probes, and the page for Prometheus. */
export function createInternalApp(options: Pick<AppOptions, 'multiplexer' | 'store' | 'metrics'>): Express {
  const app = express()
  app.disable('x-powered-by')
  app.use(internalRoutes(options))
  return app
}

function internalRoutes({ multiplexer, store, metrics: kit }: Parameters<typeof createInternalApp>[0]): Router {
  const router = express.Router()
  router.use(healthRoutes({ multiplexer, store }))
  router.use('/metrics', metrics(kit))
  return router
}

/** Creates the app. It opens nothing that must be closed: the caller closes the services. */
export function createApp(options: AppOptions): Express {
  const { config, multiplexer, store, keyValues, revocations, limits, workbench, traffic, log } = options
  const app = express()
  app.disable('x-powered-by')
  app.set('trust proxy', config.proxies)
  app.use(securityHeaders())

  app.use(
    '/webhooks',
    webhooks({
      secrets: config.webhookSecret,
      verifyToken: config.webhookVerifyToken,
      onMessage: receiveMessage({ store, multiplexer, log }),
      store: keyValues,
      failureLimit: limits.webhookFailures,
    }),
  )
  // In development everything is on one port.
  if (config.internal === undefined && !config.production) app.use(internalRoutes(options))

  const api = express.Router()
  const json = express.json({ limit: '64kb' })
  const failureLimit = limits.tokenFailures
  api.use(authenticate({ secret: config.jwtSecret, optional: true, tickets: keyValues, revocations, failureLimit }))
  api.use('/auth', limits.signIns, json, authRoutes(config, revocations))
  api.use('/workbench', json, workbenchRoutes({ workbench, production: config.production }))
  api.use(limits.requests, requireAuth(), json)
  api.use('/dashboard', dashboardRoutes(keyValues, config))
  api.use('/conversations', conversationRoutes({ store, multiplexer }))
  api.use('/compare', compareRoutes({ traffic, production: config.production }))
  api.use('/sse/tickets', tickets({ store: keyValues }))
  api.use(
    '/sse',
    conversationStreams({
      multiplexer,
      authorize: async ({ tenant }, id) => (await store.getConversation(tenant, id)) !== undefined,
    }),
  )
  app.use('/api/v1', api)

  app.use(pageRoutes(PAGE_FOLDER, config))
  app.use(() => {
    throw new Problem('ERR_INBOX_NOT_FOUND', 'No such resource')
  })
  app.use(sseErrors({ onError: (error, { method, path }) => log('error', 'request', { method, path, error }) }))
  app.use(problems(log))
  return app
}
