/** Serves the built pages and their security headers. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import express, { type RequestHandler, Router } from 'express'

/** A page may load only resources of this server, and no inline script. */
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

/** @param folder the output of `npm run build:page` */
export function pageRoutes(folder: string, { production }: { readonly production: boolean }): Router {
  const router = Router()
  router.use(
    '/assets',
    // The name of a file changes with its content.
    express.static(join(folder, 'assets'), { immutable: true, maxAge: '1y', index: false }),
  )
  const page = (name: string): RequestHandler => {
    const file = join(folder, name)
    return (_, res) => {
      res.set('Cache-Control', 'no-cache')
      if (existsSync(file)) res.sendFile(file)
      else res.status(503).type('text').send('The page is not built. Run "npm run build:page", then reload.\n')
    }
  }
  router.get('/', page('index.html'))
  if (production) return router
  router.get('/workbench', page('workbench.html'))
  router.get('/compare', page('compare.html'))
  return router
}
