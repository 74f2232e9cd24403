import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export interface HeldRequests {
  readonly bytes: () => number
  readonly release: () => void
}

/** A TCP proxy that can stop forwarding without closing: the connections are half-open, as after a lost route. */
export class TcpProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #upstreams = new Set<Socket>()
  readonly #pairs = new Map<Socket, Socket>()

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const server = createServer()
    const proxy = new TcpProxy(server)
    server.on('connection', (client) => proxy.#join(client, targetPort))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** The existing connections stay open but forward nothing. New connections work. */
  freeze(): void {
    for (const socket of this.#sockets) socket.unpipe().pause()
  }

  /** Drops the replies of the target on the existing connections. Requests still arrive. */
  dropAnswers(): void {
    for (const upstream of this.#upstreams) upstream.unpipe().resume()
  }

  /**
   * Holds back the requests on the existing connections, like a slow network. They arrive when they are released, even
   * if the connection to the client has broken meanwhile.
   */
  holdRequests(): HeldRequests {
    const releases: (() => void)[] = []
    let bytes = 0
    for (const [client, upstream] of this.#pairs) {
      const chunks: Buffer[] = []
      client.unpipe(upstream)
      client.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.length
      })
      client.resume()
      client.removeAllListeners('close')
      this.#sockets.delete(upstream)
      releases.push(() => upstream.write(Buffer.concat(chunks)))
    }
    return {
      bytes: () => bytes,
      release: () => {
        for (const release of releases) release()
      },
    }
  }

  breakConnections(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    this.breakConnections()
    for (const upstream of this.#upstreams) upstream.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(client: Socket, targetPort: number): void {
    const upstream = connect(targetPort, '127.0.0.1')
    client.pipe(upstream)
    upstream.pipe(client)
    this.#upstreams.add(upstream)
    this.#pairs.set(client, upstream)
    client.on('close', () => this.#pairs.delete(client))
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        this.#sockets.delete(socket)
        this.#upstreams.delete(socket)
      })
    }
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  }
}
