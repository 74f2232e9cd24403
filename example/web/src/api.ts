/** The REST calls of one session. After a 401 the token is renewed and the call is retried once. */
import type { Session } from './session.js'
import type { ConversationSummary, Dashboard, Listing, Message, TrafficState } from './types.js'

export class ApiError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export interface Api {
  dashboard(): Promise<Dashboard>
  conversations(): Promise<Listing<ConversationSummary>>
  messages(conversationId: string): Promise<Listing<Message>>
  /** @param key the Idempotency-Key: the server stores a message that is sent again only once */
  send(conversationId: string, text: string, key: string): Promise<Message>
  markRead(conversationId: string): Promise<void>
  /** The simulated customers: their state (`GET`), start (`POST`) or stop (`DELETE`). Not in production. */
  traffic(method: 'GET' | 'POST' | 'DELETE'): Promise<TrafficState>
}

/** A call that takes longer fails, so that the user can retry it. */
const TIMEOUT_MS = 20_000

/**
 * All calls reject with an ApiError, or with the error of `fetch` if the server is unreachable.
 * @param send replaces `fetch`, for example to count requests
 */
export function createApi(session: Pick<Session, 'token'>, send: typeof fetch = fetch): Api {
  async function call(path: string, init: RequestInit = {}): Promise<Response> {
    const attempt = async (refresh: boolean): Promise<Response> => {
      const headers = new Headers(init.headers)
      headers.set('Authorization', `Bearer ${await session.token(refresh)}`)
      return send(`/api/v1${path}`, { ...init, headers, signal: AbortSignal.timeout(TIMEOUT_MS) })
    }
    const first = await attempt(false)
    const response = first.status === 401 ? await attempt(true) : first
    if (response.ok) return response
    const problem = (await response.json().catch(() => ({}))) as { readonly detail?: string }
    throw new ApiError(response.status, problem.detail ?? `The server answered ${response.status}`)
  }

  async function get<T>(path: string): Promise<T> {
    return (await (await call(path)).json()) as T
  }

  return {
    dashboard: () => get('/dashboard/init'),
    conversations: () => get('/conversations'),
    messages: (id) => get(`/conversations/${encodeURIComponent(id)}/messages`),
    async send(id, text, key) {
      const response = await call(`/conversations/${encodeURIComponent(id)}/messages`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key },
        body: JSON.stringify({ text }),
      })
      return (await response.json()) as Message
    },
    async markRead(id) {
      await call(`/conversations/${encodeURIComponent(id)}/read`, { method: 'POST' })
    },
    traffic: async (method) => (await (await call('/compare/traffic', { method })).json()) as TrafficState,
  }
}
