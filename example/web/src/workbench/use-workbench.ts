/** The page's connection to the workbench: receives samples and state, sends commands. */
import type { ClientState } from 'express-sse-kit/client'
import { useSSE } from 'express-sse-kit/react'
import { useCallback, useState } from 'react'
import type { Sample, WorkbenchState } from '../../../server/workbench/state.js'
import { appendFrame, type Frame } from './frames.js'

const API = '/api/v1/workbench'

/** Resolves after the response. The page shows errors. */
export type SendCommand = (method: 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown) => Promise<void>

export interface WorkbenchFeed {
  readonly connection: ClientState
  readonly state: WorkbenchState | undefined
  readonly frames: readonly Frame[]
  readonly error: string | undefined
  readonly sendCommand: SendCommand
}

export function useWorkbench(): WorkbenchFeed {
  const [state, setState] = useState<WorkbenchState>()
  const [frames, setFrames] = useState<readonly Frame[]>([])
  const [error, setError] = useState<string>()
  // Renders once for each sample: four times a second.
  const connection = useSSE(`${API}/samples`, {
    state: ({ data }) => setState(JSON.parse(data) as WorkbenchState),
    sample: ({ data }) => setFrames((before) => appendFrame(before, JSON.parse(data) as Sample)),
  })

  const sendCommand = useCallback<SendCommand>(async (method, path, body) => {
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
      setError('The server is unreachable; check that it runs, then retry')
    }
  }, [])

  return { connection, state, frames, error, sendCommand }
}
