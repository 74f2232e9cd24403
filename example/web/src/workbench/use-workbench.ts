/** The page's side of the workbench: what it hears, and how it asks for something. */
import type { ClientState } from 'express-sse-kit/client'
import { useSSE } from 'express-sse-kit/react'
import { useCallback, useState } from 'react'
import type { Sample, WorkbenchState } from '../../../server/workbench/state.js'
import { appendFrame, type Frame } from './frames.js'

const API = '/api/v1/workbench'

/** Resolves when it is done; what goes wrong is shown by the page. */
export type Ask = (method: 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown) => Promise<void>

export interface WorkbenchFeed {
  readonly connection: ClientState
  readonly state: WorkbenchState | undefined
  readonly frames: readonly Frame[]
  readonly error: string | undefined
  readonly ask: Ask
}

export function useWorkbench(): WorkbenchFeed {
  const [state, setState] = useState<WorkbenchState>()
  const [frames, setFrames] = useState<readonly Frame[]>([])
  const [error, setError] = useState<string>()
  // One render for each sample, so four a second.
  const connection = useSSE(`${API}/samples`, {
    state: ({ data }) => setState(JSON.parse(data) as WorkbenchState),
    sample: ({ data }) => setFrames((before) => appendFrame(before, JSON.parse(data) as Sample)),
  })

  const ask = useCallback<Ask>(async (method, path, body) => {
    try {
      const response = await fetch(API + path, {
        method,
        ...(body !== undefined && {
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify(body),
        }),
      })
      if (response.ok) {
        setError(undefined)
        return
      }
      const problem = (await response.json().catch(() => ({}))) as { readonly detail?: string }
      setError(problem.detail ?? `The server answered ${response.status}`)
    } catch {
      setError('The server cannot be reached')
    }
  }, [])

  return { connection, state, frames, error, ask }
}
