/** A parsed page of metrics: the value of each line by its printed name and labels. */
export class Scrape {
  readonly text: string
  readonly #values = new Map<string, number>()
  /** The declared names, with their types. */
  readonly types = new Map<string, string>()

  constructor(text: string) {
    this.text = text
    for (const line of text.split('\n')) {
      const [, name = '', type = ''] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
      if (name !== '') this.types.set(name, type)
      const [, series = '', value = ''] = /^([^#\s][^\s]*) (\S+)$/.exec(line) ?? []
      if (series !== '') this.#values.set(series, Number(value))
    }
  }

  /** The name and labels of every line. */
  get series(): string[] {
    return [...this.#values.keys()]
  }

  value(series: string): number {
    const value = this.#values.get(series)
    if (value === undefined) throw new Error(`There is no ${series} in:\n${this.text}`)
    return value
  }

  /** The sum of all lines with this name. */
  sum(name: string): number {
    return this.series
      .filter((series) => series.replace(/\{.*/, '') === name)
      .reduce((sum, series) => sum + this.value(series), 0)
  }

  /** The families with at least one line that has another value here. */
  movedSince(earlier: Scrape): string[] {
    const moved = (series: string): boolean => earlier.#values.get(series) !== this.#values.get(series)
    return [...this.types.keys()].filter((name) =>
      this.series.some((series) => series.replace(/(_bucket|_sum|_count)?(\{.*)?$/, '') === name && moved(series)),
    )
  }
}
