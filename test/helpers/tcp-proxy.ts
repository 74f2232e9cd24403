import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP proxy that can fall silent without closing anything: a half-open connection, as after a lost route. */
export class TcpProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #upstreams = new Set<Socket>()

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

  /** Connections that exist now carry nothing any more, and stay open; new ones work. */
  freeze(): void {
    for (const socket of this.#sockets) socket.unpipe().pause()
  }

  /** What the target answers on the connections that exist now is lost; what clients say still arrives. */
  dropAnswers(): void {
    for (const upstream of this.#upstreams) upstream.unpipe().resume()
  }

  breakConnections(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    this.breakConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(client: Socket, targetPort: number): void {
    const upstream = connect(targetPort, '127.0.0.1')
    client.pipe(upstream)
    upstream.pipe(client)
    this.#upstreams.add(upstream)
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
