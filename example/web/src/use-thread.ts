/** The messages of one conversation, from the cache, and the pending replies. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import type { Api } from './api.js'
import { threadQuery, updateThread } from './inbox-cache.js'
import { EMPTY_THREAD, type Thread } from './thread-state.js'

export interface ThreadView {
  readonly thread: Thread
  readonly error: Error | null
  readonly reload: () => void
  readonly send: (text: string) => void
  /** Retries a failed reply with its original key. */
  readonly retry: (key: string) => void
}

interface Reply {
  /** The Idempotency-Key. */
  readonly key: string
  readonly text: string
}

/** @param isListLoaded whether the list is loaded, and so the start of the stream is known */
export function useThread(api: Api, conversationId: string, isListLoaded: boolean): ThreadView {
  const client = useQueryClient()
  const query = useQuery({ ...threadQuery(api, conversationId), enabled: isListLoaded })
  const thread = query.data ?? EMPTY_THREAD

  // The callbacks also run after another thread was opened.
  const { mutate } = useMutation({
    mutationFn: ({ key, text }: Reply) => api.send(conversationId, text, key),
    // Replies are sent one at a time, so that they arrive in order.
    scope: { id: conversationId },
    onMutate: ({ key, text }) => {
      updateThread(client, conversationId, { type: 'sending', key, text, at: new Date().toISOString() })
    },
    onSuccess: (message, { key }) => updateThread(client, conversationId, { type: 'sent', key, message }),
    // The server may have stored the reply. A retry with the same key does not store it twice.
    onError: (_, { key }) => updateThread(client, conversationId, { type: 'failed', key }),
  })

  return {
    thread,
    error: query.error,
    reload: () => void query.refetch(),
    send: (text) => mutate({ key: createKey(), text }),
    retry: (key) => {
      const pending = thread.pending.find((each) => each.key === key)
      if (pending?.failed) mutate({ key, text: pending.text })
    },
  }
}

/** `crypto.randomUUID` exists on https and localhost only; `getRandomValues` exists everywhere. */
function createKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
