import { useSyncExternalStore } from 'react'

const PREFIX = '#/conversations/'

/** The open conversation. Stored in the URL's fragment, so that Back returns from a thread to the list on a phone. */
export function useSelection(): string | undefined {
  return useSyncExternalStore(subscribe, selected)
}

export function hrefOf(conversationId: string): string {
  return PREFIX + encodeURIComponent(conversationId)
}

export const LIST_HREF = '#/'

function selected(): string | undefined {
  if (!location.hash.startsWith(PREFIX)) return undefined
  try {
    return decodeURIComponent(location.hash.slice(PREFIX.length)) || undefined
  } catch {
    // An invalid fragment, for example one typed by hand.
    return undefined
  }
}

function subscribe(onChange: () => void): () => void {
  addEventListener('hashchange', onChange)
  return () => removeEventListener('hashchange', onChange)
}
