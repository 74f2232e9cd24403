/** The built page, and the headers that go with pages. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import express, { type RequestHandler, Router } from 'express'

/** What a page may load: only what this server serves, and no inline script. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "object-src 'none'",
].join('; ')

export function securityHeaders(): RequestHandler {
  return (_, res, next) => {
    res.set({
      'Content-Security-Policy': CONTENT_SECURITY_POLICY,
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'no-referrer',
      'Permissions-Policy': 'camera=(), microphone=(), geolocation=()',
    })
    next()
  }
}

/** @param folder where `npm run build:page` puts the page */
export function pageRoutes(folder: string): Router {
  const router = Router()
  const index = join(folder, 'index.html')
  router.use(
    '/assets',
    // Their names change with their content.
    express.static(join(folder, 'assets'), { immutable: true, maxAge: '1y', index: false }),
  )
  router.get('/', (_, res) => {
    res.set('Cache-Control', 'no-cache')
    if (existsSync(index)) res.sendFile(index)
    else res.status(503).type('text').send('The page is not built yet: run "npm run build:page", then reload.\n')
  })
  return router
}
