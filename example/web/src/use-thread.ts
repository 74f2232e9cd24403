/** One conversation: its messages once, then their stream, and the replies on their way out. */
import { useSSE } from 'express-sse-kit/react'
import { useCallback, useEffect, useReducer } from 'react'
import type { Api } from './api.js'
import type { Session } from './session.js'
import { EMPTY_THREAD, type Thread, threadReducer } from './thread-state.js'
import type { Message } from './types.js'
import { useListing } from './use-listing.js'

export interface ThreadFeed {
  readonly thread: Thread
  readonly loaded: boolean
  readonly error: Error | undefined
  readonly reload: () => void
  readonly send: (text: string) => void
  /** Sends a reply that failed again, under its first key. */
  readonly retry: (key: string) => void
}

/** For one conversation as long as it is mounted: give the component a `key`. */
export function useThread(session: Session, api: Api, conversationId: string): ThreadFeed {
  const [thread, dispatch] = useReducer(threadReducer, EMPTY_THREAD)
  const load = useCallback((signal: AbortSignal) => api.messages(conversationId, signal), [api, conversationId])
  const { cursor, error, reload } = useListing({
    load,
    onLoading: () => dispatch({ type: 'loading' }),
    onLoaded: (items) => dispatch({ type: 'loaded', items }),
  })

  const state = useSSE(
    `/api/v1/sse/messages/${encodeURIComponent(conversationId)}`,
    {
      message: ({ data }) => {
        const message = JSON.parse(data) as Message
        const own = message.direction === 'out' && message.from === session.user
        dispatch({ type: 'arrived', message, own })
      },
      'sse.reset': reload,
      'sse.gap': reload,
    },
    { token: session.token, enabled: cursor !== undefined, ...(cursor !== undefined && { cursor }) },
  )

  // Closed for good: the server no longer lets us have it, and the list's answer says why.
  const refused = state === 'closed' && cursor !== undefined
  useEffect(() => {
    if (refused) reload()
  }, [refused, reload])

  async function deliver(key: string, text: string): Promise<void> {
    dispatch({ type: 'sending', key, text, at: new Date().toISOString() })
    try {
      dispatch({ type: 'sent', key, message: await api.send(conversationId, text, key) })
    } catch {
      // It may have got there all the same: sending again under the same key is harmless.
      dispatch({ type: 'failed', key })
    }
  }

  return {
    thread,
    loaded: cursor !== undefined,
    error,
    reload,
    send: (text) => void deliver(createKey(), text),
    retry: (key) => {
      const pending = thread.pending.find((each) => each.key === key)
      if (pending !== undefined) void deliver(key, pending.text)
    },
  }
}

/** `crypto.randomUUID` exists on https and localhost only; this everywhere. */
function createKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
