/**
 * The sign-in of the demo: any name, no password. Disabled in production, where tokens come from an identity provider.
 */
import { randomUUID } from 'node:crypto'
import { Router } from 'express'
import { type Revocations, requireAuth } from 'express-sse-kit'
import jwt from 'jsonwebtoken'
import type { Config } from '../config.js'
import { Problem } from '../problem.js'
import { findTenant } from '../tenants.js'

const HOUR_S = 3600

export function authRoutes({ jwtSecret, production }: Config, revocations: Revocations): Router {
  const router = Router()
  router.post('/login', (req, res) => {
    if (production) throw new Problem('ERR_INBOX_NOT_FOUND', 'The demo sign-in is disabled in production')
    const { user, tenant, expiresInS = HOUR_S } = fieldsOf(req.body)
    if (typeof user !== 'string' || !/^[A-Za-z0-9._-]{1,64}$/.test(user)) {
      throw new Problem('ERR_INBOX_LOGIN_INVALID', 'user must be 1 to 64 characters of A-Z a-z 0-9 . _ -')
    }
    if (typeof tenant !== 'string' || findTenant(tenant) === undefined) {
      throw new Problem('ERR_INBOX_LOGIN_INVALID', 'tenant must be a tenant of the demo: acme or globex')
    }
    if (typeof expiresInS !== 'number' || !Number.isInteger(expiresInS) || expiresInS < 1 || expiresInS > HOUR_S) {
      throw new Problem('ERR_INBOX_LOGIN_INVALID', `expiresInS must be a whole number from 1 to ${HOUR_S}`)
    }
    const token = jwt.sign({ tenant }, jwtSecret, {
      algorithm: 'HS256',
      subject: user,
      expiresIn: expiresInS,
      jwtid: randomUUID(),
    })
    res.set('Cache-Control', 'no-store').json({ token, expiresInMs: expiresInS * 1000 })
  })
  // Revokes the token and ends its streams, in all processes. `{ "everywhere": true }`: all tokens of the user.
  router.post('/logout', requireAuth(), async (req, res) => {
    const { user = '', tenant = '', claims } = req.auth ?? {}
    const everywhere = fieldsOf(req.body).everywhere === true
    const tokenId = claims?.jti
    if (everywhere || typeof tokenId !== 'string') await revocations.revoke({ user, tenant })
    else await revocations.revoke({ tokenId })
    res.status(204).end()
  })
  return router
}

function fieldsOf(body: unknown): Readonly<Record<string, unknown>> {
  return body !== null && typeof body === 'object' ? (body as Record<string, unknown>) : {}
}
