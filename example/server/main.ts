/** `npm start`: reads the environment, starts, and ends in good order on SIGINT and SIGTERM. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, ListenOptions } from 'node:net'
import { logDrops } from 'express-sse-kit'
import { createApp, createInternalApp } from './app.js'
import { type Config, ConfigError, readConfig } from './config.js'
import { logDiagnostics, logToStderr } from './log.js'
import { openServices, type Services, seedTenants } from './services.js'

/** What is still open this long after the streams were told to go is cut off, in ms. */
const CLOSE_DEADLINE_MS = 4000
/** How long the start waits for the demo conversations; with Redis away they come later. */
const SEED_WAIT_MS = 1000
/** New connections that may wait, for all clients may come back at once. By Node's own default it is 511; the kernel may allow less. */
const BACKLOG = 4096

async function start(config: Config): Promise<void> {
  for (const note of config.notes) console.log(note)
  logDiagnostics(logToStderr)
  logDrops({ write: (line) => logToStderr('warn', line.event, { ...line }) })
  const services = openServices(config.redis)
  const app = createApp({ ...services, config, log: logToStderr })
  const server = createServer(app)
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
    // A second Ctrl+C is for those who cannot wait.
    if (stopping) process.exit(1)
    stopping = true
    stopSeeding.abort()
    stopServing(server, services, config.drainMs, internal).then(
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

/** No new connections, streams told to come back, one after the other, answers under way finished, and then the rest. */
async function stopServing(server: Server, services: Services, drainMs: number, internal?: Server): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  const deadline = setTimeout(() => server.closeAllConnections(), drainMs + CLOSE_DEADLINE_MS)
  await Promise.race([
    Promise.all([services.multiplexer.close({ windowMs: drainMs }), services.workbench.close()]),
    closed,
  ])
  // Connections of streams that have ended wait for another request.
  server.closeIdleConnections()
  await closed
  clearTimeout(deadline)
  // Last: how the end goes is worth watching.
  internal?.close()
  internal?.closeAllConnections()
  await services.close()
}

try {
  await start(readConfig(process.env))
} catch (error) {
  if (error instanceof ConfigError) console.error(`Cannot start: ${error.message}`)
  else if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    const { port } = error as { readonly port?: number }
    console.error(`Cannot start: port ${port} is taken; set PORT or INTERNAL_PORT to another one`)
  } else console.error(error)
  process.exit(1)
}
