/** The global `conformance` of the page of the conformance tests. Bundled. */
import { type Observation, type RunOptions, runEventSource, runKit } from '../conformance/clients.js'
import type { Conformer } from '../conformance/connection-rows.js'

class Conformance {
  readonly #running = new Map<string, AbortController>()

  run(client: Conformer, url: string, options: RunOptions): Promise<Observation> {
    if (client === 'Chromium') return runEventSource(url, options)
    const abort = new AbortController()
    this.#running.set(url, abort)
    const transport = client === 'kit' ? 'fetch' : 'native'
    return runKit(url, { ...options, transport, signal: abort.signal })
  }

  /** Ends a run that does not end by itself. */
  end(url: string): void {
    this.#running.get(url)?.abort()
  }
}

declare global {
  var conformance: Conformance
}

globalThis.conformance = new Conformance()
