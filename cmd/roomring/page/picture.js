// The ring of the inspector, with rooms marked on it.
import { RingView } from "./ring.js";

const ns = "http://www.w3.org/2000/svg";

// Picture marks where the chat's room lives, and the judge's.
export class Picture extends RingView {
  build() {
    super.build();
    this.rooms = document.createElementNS(ns, "g");
    this.rooms.setAttribute("class", "rooms");
    this.rooms.setAttribute("aria-hidden", "true"); // the line below the ring says it
    this.svg.append(this.rooms);
  }

  // mark says in which partitions the rooms are: the chat's, -1 when it is not known, and the judge's.
  mark(own, others) {
    this.own = own;
    this.others = others;
    this.later();
  }

  // list leaves out the dead that own nothing any more: the list beside the ring has them.
  list() {
    return super.list().filter((g) => g.state !== "dead" || g.owned > 0);
  }

  // words leaves out the states, which the list beside the ring tells: the ring then keeps its size.
  words(g) {
    const [id, count] = super.words(g);
    return [id, count.split(" ")[0]];
  }

  render() {
    super.render();
    if (!this.box) return;
    this.rooms.replaceChildren(
      ...(this.others ?? []).map((p) => this.spot(p, "other", "M0,-2.5a2.5,2.5 0 1 1 0,5a2.5,2.5 0 1 1 0,-5Z", 9)),
      this.spot(this.own ?? -1, "own", "M8,0L-7,-7L-7,7Z", 12),
    );
  }

  // spot is a mark below a partition's tick that points outwards.
  spot(partition, name, d, below) {
    const path = document.createElementNS(ns, "path");
    path.setAttribute("class", name);
    const [group, place] = this.find(partition) ?? [];
    if (group) {
      const [angle] = this.cell(group, place);
      const [x, y] = this.point(this.box.inner - below, angle).split(",");
      path.setAttribute("d", d);
      path.setAttribute("transform", `translate(${x} ${y}) rotate(${(angle * 180) / Math.PI})`);
    }
    return path;
  }
}
