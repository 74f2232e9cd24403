/** The kit's own client in the simulated world. */
import { type ClientStream, createEventStream } from '../../../lib/client/index.js'
import { PageClient } from './page-client.js'
import type { SimRequest } from './sim-fetch.js'

export class KitClient extends PageClient {
  #stream: ClientStream | undefined

  protected close(): void {
    this.#stream?.close()
  }

  protected end(): string {
    const cursor = this.#stream?.cursor ?? ''
    this.close()
    return cursor
  }

  protected open(cursor: string): void {
    const { session, window, polls } = this.options
    const stream = createEventStream(this.streamUrl, {
      fetch: (url, init = {}) => this.#fetch(new URL(String(url)), init),
      retryMs: 200,
      openTimeoutMs: 5000,
      longPollMs: 2000,
      streamRetryMs: 3000,
      ...(cursor !== '' && { cursor }),
      ...(window !== undefined && { window, ackUrl: '/ack' }),
      ...(polls > 0 && { pollUrl: `/poll?${this.query}` }),
      onState: ({ state, reason, error }) => {
        session.note(`${state} ${reason ?? ''}`)
        if (reason === 'completed') session.complete()
        if (error !== undefined) session.violate(`the client ended: ${error.code} ${error.message}`)
      },
    })
    stream.on('*', ({ type, data, id }) => {
      if (stream === this.#stream) session.received({ event: type, data, id: id === '' ? undefined : id })
    })
    this.#stream = stream
  }

  #fetch(url: URL, init: RequestInit): Promise<Response> {
    const { session, window } = this.options
    const onRequest = ({ headers, process }: SimRequest): void => {
      if (url.pathname === '/ack') {
        if (window !== undefined) session.acknowledged(window)
        return
      }
      this.connections++
      session.cursor = headers['last-event-id'] ?? url.searchParams.get('cursor') ?? ''
      session.connected(process.name, url.pathname === '/poll' ? 'poll' : 'stream', window)
    }
    return this.network.fetch(url, init, onRequest, (status) => {
      session.note(`${url.pathname} ${status}`)
      const known = url.pathname === '/ack' ? [202, 204, 404, 503] : [200, 503]
      if (!known.includes(status)) session.violate(`${url.pathname} is answered with ${status}`)
    })
  }
}
