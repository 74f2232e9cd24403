/** `npm start`: reads the environment, starts the server, and shuts it down in order on SIGINT and SIGTERM. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, ListenOptions } from 'node:net'
import { logDrops, shutdown } from 'express-sse-kit'
import { createApp, createInternalApp } from './app.js'
import { type Config, ConfigError, readConfig } from './config.js'
import { logDiagnostics, logToStderr } from './log.js'
import { openServices, seedTenants } from './services.js'

/** After the streams have ended: how long requests under way, and then each service, may take to end, in ms. */
const CLOSE_GRACE_MS = 4000
/** How long the start waits for the demo conversations, in ms. If Redis is unavailable, they are written later. */
const SEED_WAIT_MS = 1000
/**
 * How many new connections may wait, because all clients may reconnect at once. Node's default is 511. The kernel may
 * allow fewer.
 */
const BACKLOG = 4096

/** Longer than proxies keep unused connections (60 s): they close first, so no request meets a closing connection. */
const KEEP_ALIVE_MS = 65_000

async function start(config: Config): Promise<void> {
  for (const note of config.notes) console.log(note)
  logDiagnostics(logToStderr)
  logDrops({ write: (line) => logToStderr('warn', line.event, { ...line }) })
  const services = openServices(config.redis)
  const app = createApp({ ...services, config, log: logToStderr })
  const server = createServer(app)
  server.keepAliveTimeout = KEEP_ALIVE_MS
  const stopSeeding = new AbortController()
  const seeded = config.production ? undefined : seedTenants(services.store, logToStderr, stopSeeding.signal)
  await Promise.race([seeded, new Promise((resolve) => setTimeout(resolve, SEED_WAIT_MS).unref())])

  const internal = config.internal && (await listen(createServer(createInternalApp(services)), config.internal))
  await listen(server, { port: config.port, backlog: BACKLOG })
  const { port } = server.address() as AddressInfo
  const mode = config.redis === undefined ? 'embedded: everything in this process' : 'Redis'
  console.log(`Inbox on http://localhost:${port} (${mode})`)
  if (internal) console.log(`Health and metrics on ${addressOf(internal)}`)

  let stopping = false
  const stop = (): void => {
    // A second Ctrl+C ends the process immediately.
    if (stopping) process.exit(1)
    stopping = true
    stopSeeding.abort()
    shutdown({
      server,
      streams: [services.multiplexer, services.workbench],
      // Metrics can be read until the last request has ended.
      parts: [{ close: () => closeNow(internal) }, ...services.parts],
      windowMs: config.drainMs,
      graceMs: CLOSE_GRACE_MS,
    }).then(
      () => process.exit(0),
      (error: unknown) => {
        logToStderr('error', 'close', { error })
        process.exit(1)
      },
    )
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
}

async function listen(server: Server, where: ListenOptions): Promise<Server> {
  server.listen(where)
  await once(server, 'listening')
  return server
}

function addressOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

function closeNow(server: Server | undefined): void {
  server?.close()
  server?.closeAllConnections()
}

try {
  await start(readConfig(process.env))
} catch (error) {
  if (error instanceof ConfigError) console.error(`Cannot start: ${error.message}`)
  else if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    const { port } = error as { readonly port?: number }
    console.error(`Cannot start: port ${port} is in use. Set PORT or INTERNAL_PORT to another one.`)
  } else console.error(error)
  process.exit(1)
}
