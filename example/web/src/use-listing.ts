import { useCallback, useEffect, useState } from 'react'
import type { Listing } from './types.js'

export interface ListingHandlers<Item> {
  /** Stable, or the list is loaded again. */
  readonly load: (signal: AbortSignal) => Promise<Listing<Item>>
  readonly onLoading: () => void
  readonly onLoaded: (items: readonly Item[]) => void
}

export interface ListingState {
  /** The first list's cursor: where its stream begins. The stream keeps its own from then on. */
  readonly cursor: string | undefined
  readonly error: Error | undefined
  /** For when the stream says that something was missed, and for the user after an error. */
  readonly reload: () => void
}

/** Loads a list once, and again when told to. The handlers may change between renders, but for `load`. */
export function useListing<Item>({ load, onLoading, onLoaded }: ListingHandlers<Item>): ListingState {
  const [cursor, setCursor] = useState<string>()
  const [error, setError] = useState<Error>()
  const [attempt, setAttempt] = useState(0)

  // biome-ignore lint/correctness/useExhaustiveDependencies: the handlers only dispatch; `attempt` asks for another load
  useEffect(() => {
    const abort = new AbortController()
    onLoading()
    load(abort.signal).then(
      (listing) => {
        onLoaded(listing.items)
        setCursor((first) => first ?? listing.cursor)
        setError(undefined)
      },
      (reason: unknown) => {
        if (!abort.signal.aborted) setError(reason instanceof Error ? reason : new Error(String(reason)))
      },
    )
    return () => abort.abort()
  }, [load, attempt])

  const reload = useCallback(() => setAttempt((count) => count + 1), [])
  return { cursor, error, reload }
}
