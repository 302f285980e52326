const UNITS = 2 ** 16;

/** Texts that a text may go on with, found together: a tree of their beginnings by UTF-16. Empty ones are never found. */
export class Trie {
  private readonly children = new Map<number, number>();
  /** By node: the index of the text that ends there, or −1. */
  private readonly ends: number[] = [-1];

  constructor(texts: readonly string[]) {
    texts.forEach((text, index) => {
      let node = 0;
      for (let i = 0; i < text.length; i++) {
        const edge = node * UNITS + text.charCodeAt(i);
        let child = this.children.get(edge);
        if (child === undefined) {
          child = this.ends.push(-1) - 1;
          this.children.set(edge, child);
        }
        node = child;
      }
      this.ends[node] = index;
    });
  }

  /** Every one that a text goes on with from a place, shorter ones first. */
  from(text: string, place: number, found: (index: number, end: number) => void): void {
    let node = 0;
    for (let i = place; i < text.length; i++) {
      const child = this.children.get(node * UNITS + text.charCodeAt(i));
      if (child === undefined) return;
      node = child;
      const end = this.ends[node] as number;
      if (end >= 0) found(end, i + 1);
    }
  }
}
