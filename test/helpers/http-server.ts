import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A real HTTP server on a free loopback port. */
export interface TestServer {
  readonly url: string
  readonly server: Server
  stop(): Promise<void>
}

/** @param port for a server that replaces another one. @defaultValue a free port */
export async function serve(listener: RequestListener, port = 0): Promise<TestServer> {
  const server = createServer(listener)
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    server,
    stop: async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
