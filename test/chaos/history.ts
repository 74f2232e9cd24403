/** What a run must not contradict: every publication's outcome, and which event each `id` stands for. Shares nothing with the kit. */

export type Outcome = 'done' | 'not' | 'unknown'

interface Publication {
  readonly channel: string
  readonly by: number
  readonly outcome: Outcome
  readonly code: string | undefined
  /** `<epoch>-<offset>` where the outcome is done. */
  readonly id: string | undefined
}

export interface Loss {
  readonly channel: string
  /** The last id that the client had of the former epoch. */
  readonly after: string
  readonly follower: string
  /** What it was given at which offset, from its last reset before to its first after. */
  readonly delivered: ReadonlyMap<number, string>
  /** Who served the client. */
  readonly servedBy: number
}

export class History {
  readonly violations: string[] = []
  /** By token. */
  readonly #publications = new Map<string, Publication>()
  /** channel + id → token */
  readonly #tokens = new Map<string, string>()
  /** Tokens that were in a log, and where they were seen first. */
  readonly #seen = new Map<string, string>()
  /** Changes of epoch that nothing announced. */
  readonly #silent: Loss[] = []

  violate(text: string): void {
    if (this.violations.length < 50) this.violations.push(text)
  }

  publication(token: string, publication: Publication): void {
    this.#publications.set(token, publication)
    if (publication.id !== undefined) this.names(publication.channel, publication.id, token, 'publish')
  }

  /** An `id` that stands for an event. */
  names(channel: string, id: string, token: string, by: string): void {
    const key = `${channel} ${id}`
    const known = this.#tokens.get(key)
    if (known === undefined) this.#tokens.set(key, token)
    else if (known !== token) this.violate(`${key} stands for ${known} and for ${token} (${by})`)
  }

  /** An event that was delivered, or that a log holds. */
  saw(token: string, where: string): void {
    if (!this.#seen.has(token)) this.#seen.set(token, where)
  }

  silent(loss: Loss): void {
    this.#silent.push(loss)
  }

  get counts(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = { seen: this.#seen.size }
    for (const { outcome, code } of this.#publications.values()) {
      const name = outcome === 'done' ? outcome : `${outcome} ${code}`
      counts[name] = (counts[name] ?? 0) + 1
    }
    return counts
  }

  /** At the end, when nothing is under way. */
  conclude(): void {
    for (const [token, where] of this.#seen) {
      const publication = this.#publications.get(token)
      if (publication?.outcome === 'not') {
        this.violate(`${token} was reported as not published (${publication.code}), and is in ${where}`)
      }
    }
    for (const { channel, after, follower, servedBy, delivered } of this.#silent) {
      const [epoch, offset] = after.split('-') as [string, string]
      for (const [token, { channel: on, id, by }] of this.#publications) {
        const [inEpoch, at] = id?.split('-') ?? []
        // What its own process has published and lost, a process knows of.
        const lost = (delivered.get(Number(at)) ?? token) !== token
        if (on === channel && inEpoch === epoch && Number(at) > Number(offset) && by === servedBy && lost) {
          this.violate(`${follower}: ${channel} went on after ${after}; ${token} had been acknowledged as ${id}`)
          break
        }
      }
    }
  }
}
