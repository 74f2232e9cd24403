/** The example inside the process of a test: real HTTP on a free port, embedded or on a real Redis. */
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createApp, createInternalApp } from '../../example/server/app.js'
import { type Config, readConfig } from '../../example/server/config.js'
import type { LogLine } from '../../example/server/log.js'
import { openServices, type Services, seedTenants } from '../../example/server/services.js'
import { SseClient } from '../helpers/sse-client.js'

const ENVIRONMENT = { JWT_SECRET: 'a secret of the tests, thirty-two bytes or more', PORT: '0' }

/** The log lines of the app. */
export type LogEntry = readonly [level: string, event: string, fields: Readonly<Record<string, unknown>> | undefined]

export interface InboxOptions {
  readonly redisUrl?: string
  readonly environment?: Readonly<Record<string, string>>
  /** The port. @defaultValue a free one */
  readonly port?: number
}

/** One instance of the example, inside the process of the test. */
export class TestInbox {
  readonly config: Config
  readonly services: Services
  readonly log: LogEntry[] = []
  readonly #server: Server
  readonly #internal: Server | undefined
  readonly #streams: SseClient[] = []

  private constructor(config: Config, services: Services) {
    this.config = config
    this.services = services
    const log: LogLine = (level, event, fields) => void this.log.push([level, event, fields])
    this.#server = createServer(createApp({ ...services, config, log }))
    this.#internal = config.internal && createServer(createInternalApp(services))
  }

  static async start({ redisUrl, environment, port = 0 }: InboxOptions = {}): Promise<TestInbox> {
    const config = readConfig({ ...ENVIRONMENT, ...environment, REDIS_URL: redisUrl })
    const services = openServices(config.redis)
    if (!config.production) await seedTenants(services.store, () => undefined, new AbortController().signal)
    const inbox = new TestInbox(config, services)
    inbox.#server.listen(port, '127.0.0.1')
    await once(inbox.#server, 'listening')
    if (inbox.#internal) {
      inbox.#internal.listen(config.internal)
      await once(inbox.#internal, 'listening')
    }
    return inbox
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** The port of health and metrics, if INTERNAL_PORT is set. */
  get internalPort(): number {
    if (this.#internal === undefined) throw new Error('INTERNAL_PORT is not set')
    return (this.#internal.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    this.#internal?.close()
    this.#internal?.closeAllConnections()
    for (const stream of this.#streams) stream.close()
    const closed = once(this.#server, 'close')
    this.#server.close()
    await this.services.multiplexer.close()
    this.#server.closeAllConnections()
    await closed
    await this.services.close()
  }

  async signIn(user: string, tenant: string): Promise<string> {
    const answer = await this.call('POST', '/api/v1/auth/login', { body: { user, tenant } })
    return (answer.body as { token: string }).token
  }

  async call(method: string, path: string, { token, body, headers = {} }: CallOptions = {}): Promise<Answer> {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const json = response.headers.get('content-type')?.includes('json') === true
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: json ? (JSON.parse(text) as unknown) : null,
    }
  }

  /** Opens a stream and waits for its first block. */
  async stream(path: string, token: string, cursor?: string): Promise<SseClient> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` }
    if (cursor !== undefined) headers['last-event-id'] = cursor
    const client = await SseClient.open(`${this.url}/api/v1/sse${path}`, headers)
    this.#streams.push(client)
    if (client.status === 200) await client.control('sse.open')
    return client
  }

  /** Delivers a payload like Meta. @param secret another secret than the app's makes a wrong signature */
  async deliver(provider: string, payload: unknown, secret: string = this.config.webhookSecret): Promise<Answer> {
    const body = JSON.stringify(payload)
    const response = await fetch(`${this.url}/webhooks/${provider}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-hub-signature-256': sign(body, secret) },
      body,
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, body: JSON.parse(text) as unknown }
  }
}

export interface CallOptions {
  readonly token?: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The parsed body, if it is JSON. */
  readonly body: unknown
}

export interface WhatsAppText {
  readonly id: string
  readonly text: string
  readonly from?: string
  readonly name?: string
  readonly phoneNumberId?: string
  /** Ms since 1970. @defaultValue now */
  readonly at?: number
}

/** A text message as in Meta's documentation of the WhatsApp Cloud API. */
export function whatsAppPayload(message: WhatsAppText): unknown {
  const { id, text, from = '16315551234', name = 'Kerry Fisher', phoneNumberId = '106540352242922' } = message
  return {
    object: 'whatsapp_business_account',
    entry: [
      {
        id: '102290129340398',
        changes: [
          {
            field: 'messages',
            value: {
              messaging_product: 'whatsapp',
              metadata: { display_phone_number: '15550783881', phone_number_id: phoneNumberId },
              contacts: [{ profile: { name }, wa_id: from }],
              messages: [
                {
                  from,
                  id,
                  timestamp: String(Math.floor((message.at ?? Date.now()) / 1000)),
                  type: 'text',
                  text: { body: text },
                },
              ],
            },
          },
        ],
      },
    ],
  }
}

/** A text message as in Meta's documentation of the Messenger Platform, for Pages (`page`) and Instagram alike. */
export function messengerPayload(object: 'page' | 'instagram', accountId: string, mid: string, text: string): unknown {
  const at = Date.now()
  const messaging = [
    { sender: { id: '4801234567890123' }, recipient: { id: accountId }, timestamp: at, message: { mid, text } },
  ]
  return { object, entry: [{ id: accountId, time: at, messaging }] }
}

export function sign(body: string, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}
