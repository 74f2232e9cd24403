import type { RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createMultiplexer, type Multiplexer } from '../../lib/index.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { RealProxy } from '../helpers/proxies.js'
import type { ProxyKind } from '../helpers/proxy-kinds.js'

export const HEARTBEAT_MS = 500

export interface ProxiedKitOptions {
  /** How long a stream without bytes may last. @defaultValue 60, as in the configuration */
  readonly idleSeconds?: number
  /** What else to replace in the configuration. */
  readonly parts?: Readonly<Record<string, string>>
}

/** An embedded kit behind a real proxy. */
export class ProxiedKit {
  readonly proxy: RealProxy
  readonly multiplexer: Multiplexer
  readonly #server: TestServer
  /** The connections of the open streams. */
  readonly #connections: ReadonlySet<Socket>

  private constructor(
    proxy: RealProxy,
    multiplexer: Multiplexer,
    server: TestServer,
    connections: ReadonlySet<Socket>,
  ) {
    this.proxy = proxy
    this.multiplexer = multiplexer
    this.#server = server
    this.#connections = connections
  }

  static async start(kind: ProxyKind, options: ProxiedKitOptions = {}): Promise<ProxiedKit> {
    const multiplexer = createMultiplexer({ stream: { heartbeatMs: HEARTBEAT_MS } })
    const connections = new Set<Socket>()
    const server = await serve(routes(multiplexer, connections))
    // Longer than any proxy keeps an unused connection, and than the tests take.
    server.server.keepAliveTimeout = 600_000
    const { port: kitPort } = server.server.address() as AddressInfo
    try {
      const proxy = await RealProxy.start(kind, { kitPort, readyPath: '/api/request', ...options })
      return new ProxiedKit(proxy, multiplexer, server, connections)
    } catch (error) {
      await multiplexer.close()
      await server.stop()
      throw error
    }
  }

  /** The kit itself, without the proxy. */
  get url(): string {
    return this.#server.url
  }

  /** How many streams are open at the kit. */
  get streams(): number {
    return this.multiplexer.status().streams
  }

  /** Breaks the connections of all streams, as a crash of the kit's process does. */
  breakStreams(): void {
    for (const connection of this.#connections) connection.destroy()
  }

  async stop(): Promise<void> {
    // First, so that no stream waits for a proxy that passes its end on.
    await this.proxy.stop()
    await this.multiplexer.close()
    await this.#server.stop()
  }
}

/**
 * - `/api/orders`: a stream on the channel `orders`.
 * - `/api/silent`: a stream on the channel `silent` without heartbeats.
 * - `/api/informed/<status>`: as `/api/orders`, after an informational response with this status.
 * - `/api/request`: what the kit has received, as JSON that is long enough for every proxy to compress it.
 */
function routes(multiplexer: Multiplexer, connections: Set<Socket>): RequestListener {
  const orders = multiplexer.stream(() => 'orders')
  const silent = multiplexer.stream(() => 'silent', { heartbeatMs: 0 })
  return (req, res) => {
    const fail = (error: unknown): void => void res.writeHead(500).end(String(error))
    connections.add(req.socket)
    res.once('close', () => connections.delete(req.socket))
    const [, name, status] = /^\/api\/(\w+)(?:\/(\d+))?/.exec(req.url ?? '') ?? []
    if (name === 'orders') return void orders(req, res, fail)
    if (name === 'silent') return void silent(req, res, fail)
    if (name === 'informed') {
      if (status === '103') res.writeEarlyHints({ link: '</page.css>; rel=preload; as=style' })
      else if (status === '102') res.writeProcessing()
      else res.writeContinue()
      return void orders(req, res, fail)
    }
    res.setHeader('Content-Type', 'application/json')
    res.end(JSON.stringify({ headers: req.headers, version: req.httpVersion, filler: 'x'.repeat(4000) }))
  }
}
