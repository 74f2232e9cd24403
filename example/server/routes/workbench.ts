/** The endpoints of the workbench, for its page and for its simulated clients. Disabled in production. */
import { type Request, type RequestHandler, Router } from 'express'
import { authenticate, createPressure, sseMiddleware } from 'express-sse-kit'
import { Problem } from '../problem.js'
import { TENANT } from '../workbench/bench.js'
import type { Workbench } from '../workbench/workbench.js'

/** How long the authentication of a simulated client lasts. Then it reconnects. */
const SIGNED_IN_MS = 3_600_000

export interface WorkbenchRoutesOptions {
  readonly workbench: Workbench
  readonly production: boolean
}

/** Needs `express.json()` before it. */
export function workbenchRoutes({ workbench, production }: WorkbenchRoutesOptions): Router {
  const router = Router()
  if (production) {
    router.use(() => {
      throw new Problem('ERR_INBOX_NOT_FOUND', 'The workbench is disabled in production')
    })
    return router
  }
  router.use(sameOrigin)

  router.get('/', (_, res) => {
    res.set('Cache-Control', 'no-store').json(workbench.state())
  })

  // The measuring stream must not be refused under the pressure that it measures. Only the newest samples matter.
  const samples = sseMiddleware({
    pressure: createPressure({ maxLoopDelayMs: 0 }),
    backlog: 'drop-oldest',
    queueEvents: 4,
  })
  router.get('/samples', samples, (_, res) => {
    workbench.watch(() => res.sse())
  })

  router.patch('/producer', (req, res) => {
    workbench.configureProducer(req.body)
    res.json(workbench.state().producer)
  })

  router.post('/clients', (req, res) => {
    res.status(201).json(workbench.addClient(baseOf(req), req.body ?? {}))
  })

  router.patch('/clients/:id', (req, res) => {
    res.json(workbench.changeClient(req.params.id, req.body))
  })

  router.delete('/clients/:id', async (req, res) => {
    await workbench.removeClient(req.params.id)
    res.status(204).end()
  })

  router.post('/scenarios/:id', async (req, res) => {
    await workbench.play(baseOf(req), req.params.id)
    res.json(workbench.state())
  })

  router.post('/stop', async (_, res) => {
    await workbench.stop()
    res.status(204).end()
  })

  // The simulated clients call the following routes.
  router.get('/feed', asClient, (req, res, next) => workbench.bench().stream(clientOf(req))(req, res, next))
  router.get('/poll', asClient, (req, res, next) => workbench.bench().poll(req, res, next))
  router.post('/ack', asClient, (req, res, next) => workbench.bench().ack(req, res, next))
  return router
}

/** Otherwise a page of another site could control the workbench through the developer's browser. */
const sameOrigin: RequestHandler = (req, _, next) => {
  const site = req.get('Sec-Fetch-Site') ?? 'none'
  if (site === 'same-origin' || site === 'none') next()
  else throw new Problem('ERR_WORKBENCH_FOREIGN', 'Only the pages of this server may use the workbench')
}

/** Authenticates a simulated client by its id, instead of a token. */
const asClient = authenticate({
  resolve: (req) => ({ user: clientOf(req), tenant: TENANT, expiresAt: Date.now() + SIGNED_IN_MS }),
})

function clientOf({ query }: Request): string {
  return String(query.client)
}

/** The URL at which the simulated clients reach these endpoints: the local address of this request. */
function baseOf({ socket, baseUrl }: Request): URL {
  const { localAddress = '127.0.0.1', localPort } = socket
  const host = localAddress.includes(':') ? `[${localAddress}]` : localAddress
  return new URL(`http://${host}:${localPort}${baseUrl}/`)
}
