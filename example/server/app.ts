/**
 * The example's HTTP surface, in the order in which a request meets it:
 *
 *   webhooks (raw bytes) ─► health ─► JSON body ─► sign-in ─► authenticate ─► dashboard, inbox, streams ─► page ─► errors
 */
import { fileURLToPath } from 'node:url'
import express, { type Express } from 'express'
import {
  authenticate,
  conversationStreams,
  type KeyValueStore,
  type Multiplexer,
  sseErrors,
  webhooks,
} from 'express-sse-kit'
import type { Config } from './config.js'
import { receiveMessage } from './inbound.js'
import type { LogLine } from './log.js'
import { Problem, problems } from './problem.js'
import { authRoutes } from './routes/auth.js'
import { conversationRoutes } from './routes/conversations.js'
import { dashboardRoutes } from './routes/dashboard.js'
import { healthRoutes } from './routes/health.js'
import { pageRoutes, securityHeaders } from './routes/page.js'
import type { InboxStore } from './store/inbox-store.js'

export interface AppOptions {
  readonly config: Config
  readonly multiplexer: Multiplexer
  readonly store: InboxStore
  /** The kit's cache and de-duplication. */
  readonly keyValues: KeyValueStore
  readonly log: LogLine
}

const PAGE_FOLDER = fileURLToPath(new URL('../web/dist', import.meta.url))

/** Owns nothing that needs closing: what it is given stays the caller's. */
export function createApp({ config, multiplexer, store, keyValues, log }: AppOptions): Express {
  const app = express()
  app.disable('x-powered-by')
  app.use(securityHeaders())

  app.use(
    '/webhooks',
    webhooks({
      secrets: config.webhookSecret,
      verifyToken: config.webhookVerifyToken,
      onMessage: receiveMessage({ store, multiplexer, log }),
      store: keyValues,
    }),
  )
  app.use(healthRoutes({ multiplexer, store }))

  const api = express.Router()
  api.use(express.json({ limit: '64kb' }))
  api.use('/auth', authRoutes(config))
  api.use(authenticate({ secret: config.jwtSecret }))
  api.use('/dashboard', dashboardRoutes(keyValues))
  api.use('/conversations', conversationRoutes({ store, multiplexer }))
  api.use(
    '/sse',
    conversationStreams({
      multiplexer,
      authorize: async ({ tenant }, id) => (await store.getConversation(tenant, id)) !== undefined,
    }),
  )
  app.use('/api/v1', api)

  app.use(pageRoutes(PAGE_FOLDER))
  app.use(() => {
    throw new Problem('ERR_INBOX_NOT_FOUND', 'There is nothing here')
  })
  app.use(sseErrors())
  app.use(problems(log))
  return app
}
