import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A load balancer for TCP connections: to each target in turn, and to the next one if a target refuses. */
export class TcpBalancer {
  readonly #server: Server
  readonly #targets: readonly number[]
  readonly #clients = new Set<Socket>()
  #turn = 0

  private constructor(server: Server, targets: readonly number[]) {
    this.#server = server
    this.#targets = targets
  }

  static async start(targetPorts: readonly number[]): Promise<TcpBalancer> {
    const server = createServer()
    const balancer = new TcpBalancer(server, targetPorts)
    server.on('connection', (client) => balancer.#join(client))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return balancer
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(client: Socket): void {
    this.#clients.add(client)
    client.on('error', () => client.destroy())
    client.on('close', () => this.#clients.delete(client))
    this.#tryTargets(client, this.#turn++, this.#targets.length)
  }

  #tryTargets(client: Socket, turn: number, tries: number): void {
    const upstream = connect(this.#targets[turn % this.#targets.length] as number, '127.0.0.1')
    let connected = false
    upstream.on('connect', () => {
      connected = true
      client.pipe(upstream)
      upstream.pipe(client)
    })
    // 'close' follows and handles the failure.
    upstream.on('error', () => upstream.destroy())
    upstream.on('close', () => {
      if (!connected && tries > 1) this.#tryTargets(client, turn + 1, tries - 1)
      else client.destroy()
    })
    client.on('close', () => upstream.destroy())
  }
}
