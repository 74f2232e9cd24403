/** The REST calls of one session. A token that ran out is renewed once, behind the caller's back. */
import type { Session } from './session.js'
import type { ConversationSummary, Dashboard, Listing, Message } from './types.js'

export class ApiError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export interface Api {
  dashboard(signal: AbortSignal): Promise<Dashboard>
  conversations(signal: AbortSignal): Promise<Listing<ConversationSummary>>
  messages(conversationId: string, signal: AbortSignal): Promise<Listing<Message>>
  /** @param key makes sending again harmless: the server knows the message by it */
  send(conversationId: string, text: string, key: string): Promise<Message>
  markRead(conversationId: string): Promise<void>
}

/** All calls throw ApiError, or what `fetch` throws where the server cannot be reached. */
export function createApi(session: Session): Api {
  async function call(path: string, init: RequestInit = {}): Promise<Response> {
    const attempt = async (refresh: boolean): Promise<Response> => {
      const headers = new Headers(init.headers)
      headers.set('Authorization', `Bearer ${await session.token(refresh)}`)
      return fetch(`/api/v1${path}`, { ...init, headers })
    }
    const first = await attempt(false)
    const response = first.status === 401 ? await attempt(true) : first
    if (response.ok) return response
    const problem = (await response.json().catch(() => ({}))) as { readonly detail?: string }
    throw new ApiError(response.status, problem.detail ?? `The server answered ${response.status}`)
  }

  async function get<T>(path: string, signal: AbortSignal): Promise<T> {
    return (await (await call(path, { signal })).json()) as T
  }

  return {
    dashboard: (signal) => get('/dashboard/init', signal),
    conversations: (signal) => get('/conversations', signal),
    messages: (id, signal) => get(`/conversations/${encodeURIComponent(id)}/messages`, signal),
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
  }
}
