/**
 * The endpoints of the comparison: start and stop simulated customers for the caller's tenant. Disabled in production.
 */
import { type Request, Router } from 'express'
import type { Traffic } from '../compare/traffic.js'
import { Problem } from '../problem.js'
import { findTenant, type Tenant } from '../tenants.js'

export interface CompareRoutesOptions {
  readonly traffic: Traffic
  readonly production: boolean
}

/** Needs `authenticate()` before it. */
export function compareRoutes({ traffic, production }: CompareRoutesOptions): Router {
  const router = Router()
  if (production) {
    router.use(() => {
      throw new Problem('ERR_INBOX_NOT_FOUND', 'The comparison is disabled in production')
    })
    return router
  }
  router.use((_, res, next) => {
    res.set('Cache-Control', 'no-store')
    next()
  })

  router.get('/traffic', async (req, res) => {
    res.json(await traffic.state(tenantOf(req)))
  })

  router.post('/traffic', async (req, res) => {
    const tenant = tenantOf(req)
    traffic.start(tenant)
    res.json(await traffic.state(tenant))
  })

  router.delete('/traffic', async (req, res) => {
    const tenant = tenantOf(req)
    traffic.stop(tenant.id)
    res.json(await traffic.state(tenant))
  })

  return router
}

function tenantOf({ auth }: Request): Tenant {
  const tenant = auth && findTenant(auth.tenant)
  if (tenant === undefined)
    throw new Problem('ERR_INBOX_NOT_FOUND', 'Only the tenants of the demo have simulated customers')
  return tenant
}
